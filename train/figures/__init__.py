"""Sheets, curves and plots."""

"""Evaluate networks on a corpus."""

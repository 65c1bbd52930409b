"""Faces of synthetic people."""

"""Datasets of faces and voices, and what loads them."""

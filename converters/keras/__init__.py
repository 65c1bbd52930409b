"""Keras: weight files written, and the original models run."""

"""Corpora in other people's layouts."""

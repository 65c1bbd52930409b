"""Recipes: one TOML file for each published or recommended setting, every value written out."""

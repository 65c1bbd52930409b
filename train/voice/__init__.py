"""Train voice encoders."""

"""Sound and pictures in, pictures out."""

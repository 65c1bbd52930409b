"""People who do not exist: faces from a mesh, voices from a vocoder, tied as in life."""

"""Readers of weight files. They run in a child process: see `vox2face.converters.sandbox`."""

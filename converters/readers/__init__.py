"""One reader for each kind of weight file; `vox2face.converters.read` picks the right one."""

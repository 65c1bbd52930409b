"""`python -m vox2face` is the command `vox2face`."""

from vox2face.cli import main

main(prog_name="vox2face")

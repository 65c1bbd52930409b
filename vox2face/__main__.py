"""`python -m vox2face` is the command `vox2face`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command; Ctrl-C ends it without a word while it is imported, too."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vox2face.cli import main

    main(prog_name="vox2face")


if __name__ == "__main__":
    main()

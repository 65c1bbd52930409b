"""The vox2face command with narrow networks, for tests of whole processes."""

from __future__ import annotations

from functools import partial

from helpers.twins import narrow
from vox2face.cli import main
from vox2face.zoo import registry

if __name__ == "__main__":
    registry.entry = partial(narrow, find=registry.entry)  # type: ignore[assignment]
    main()

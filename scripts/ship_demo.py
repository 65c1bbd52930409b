"""Put trained bundles in the place of the demo models that come with vox2face.

`python scripts/ship_demo.py VOICE DECODER`, bundles of a voice encoder and a face decoder of one
space, as `vox2face train` writes them. Each is saved again as the demo entry of its kind, proven,
and replaces the one in `vox2face/assets/demo`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import vox2face
from vox2face.runtime.load import load
from vox2face.store.bundle import default_path
from vox2face.zoo.registry import entry, require_pair, require_same_space

NAMES = ("mlp_head.demo", "face_decoder.demo")


def ship(name: str, trained: Path) -> None:
    """Save the network of a bundle as a demo entry, whose space it must have."""
    model = load(trained)
    require_same_space(str(trained), model.space, name, entry(name).space)
    facts = dict(model.bundle.config["source"].get("training", {}))
    vox2face.save(
        name, model.module, default_path(entry(name)), preset=model.preset, space=model.space,
        training=facts, force=True,
    )  # fmt: skip


def main() -> None:
    """Replace both demo models."""
    voice, decoder = (load(path) for path in sys.argv[1:3])
    require_pair(voice.entry, voice.space, decoder.entry, decoder.space)
    for name, path in zip(NAMES, sys.argv[1:3], strict=True):
        ship(name, Path(path))
        print(f"{name} is now that of {path}.")


if __name__ == "__main__":
    main()

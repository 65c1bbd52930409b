"""Convert the two networks that find faces and their landmarks to safetensors, once.

`python scripts/convert_face_nets.py MODEL [OUT]`, where MODEL is the folder `model` of the npm
package @vladmandic/face-api 1.7.15 and OUT the folder of the results, by default that of the files
that come with vox2face, which this script made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from vox2face.converters.readers.open import open_weights
from vox2face.core.files import sha256
from vox2face.zoo.networks.face_api import ASSETS, DETECTOR, LANDMARKS

# Result -> manifest, its weights, sha256 of both
SOURCES = {
    DETECTOR: (
        ("tiny_face_detector_model-weights_manifest.json",
         "5d1af4849ac48d5b985f4a9b16010c512353ddd6fcc63d50fd0bc9e9e64296e5"),
        ("tiny_face_detector_model.bin",
         "b7503ce7df31039b1c43316a9b865cab6a70dd748cc602d3fa28b551503c3871"),
    ),
    LANDMARKS: (
        ("face_landmark_68_model-weights_manifest.json",
         "ca4886639f86e99b39fed0c155f81b63317225773bd9616716e887b0153389c9"),
        ("face_landmark_68_model.bin",
         "4611ef65c87d836d03d684b30eec4d195d8b219fa1dd58fc58945831c6b9299b"),
    ),
}  # fmt: skip
# Array in the file -> tensor, axes of the array in the order of the tensor's
TENSORS = {
    "filters": ("weight", (3, 2, 0, 1)),
    "depthwise_filter": ("depthwise.weight", (2, 3, 0, 1)),
    "pointwise_filter": ("pointwise.weight", (3, 2, 0, 1)),
    "weights": ("weight", (1, 0)),
    "bias": ("bias", (0,)),
}


def main(model: Path, out: Path) -> None:
    """Convert both networks."""
    for result, files in SOURCES.items():
        for name, digest in files:
            if sha256(model / name) != digest:
                raise SystemExit(f"{model / name} is not that of @vladmandic/face-api 1.7.15.")
        save_file(tensors(model / files[0][0]), out / result)


def tensors(manifest: Path) -> dict[str, np.ndarray]:
    """Return the weights of a TensorFlow.js manifest under the names and in the layout of torch."""
    found = {}
    with open_weights(manifest) as file:
        for array, values in zip(file.arrays, file.values(file.arrays), strict=True):
            name, axes = TENSORS[array.name]
            layer = array.layer.replace("/", ".")
            found[f"{layer}.{name}"] = np.ascontiguousarray(values.transpose(axes))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ASSETS)

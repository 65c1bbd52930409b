"""The weights of the two networks that find faces and their landmarks, from TensorFlow.js files.

They come with vox2face: `tiny_face_detector` and `face_landmark_68` of the npm package
@vladmandic/face-api 1.7.15.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from vox2face.converters.read import open_weights

if TYPE_CHECKING:
    import torch

    from vox2face.zoo.face_api import FaceDetector, LandmarkNet

ASSETS = Path(str(resources.files("vox2face"))) / "assets" / "face-api"
DETECTOR = "tiny_face_detector_model-weights_manifest.json"
LANDMARKS = "face_landmark_68_model-weights_manifest.json"
# Array in the file -> tensor, axes of the array in the order of the tensor's
TENSORS = {
    "filters": ("weight", (3, 2, 0, 1)),
    "depthwise_filter": ("depthwise.weight", (2, 3, 0, 1)),
    "pointwise_filter": ("pointwise.weight", (3, 2, 0, 1)),
    "weights": ("weight", (1, 0)),
    "bias": ("bias", (0,)),
}


@cache
def networks() -> tuple[FaceDetector, LandmarkNet]:
    """Return the two networks with the weights that come with vox2face; they are read once."""
    from vox2face.zoo.face_api import FaceDetector, LandmarkNet

    detector, landmark_net = FaceDetector(), LandmarkNet()
    detector.load_state_dict(tensors(ASSETS / DETECTOR))
    landmark_net.load_state_dict(tensors(ASSETS / LANDMARKS))
    return detector.eval(), landmark_net.eval()


def tensors(manifest: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a TensorFlow.js manifest under the names and in the layout of torch."""
    import torch

    found = {}
    with open_weights(manifest) as file:
        for array, stored in zip(file.arrays, file.values(file.arrays), strict=True):
            name, axes = TENSORS[array.name]
            values = stored.transpose(axes)
            found[f"{array.layer.replace('/', '.')}.{name}"] = torch.from_numpy(values.copy())
    return found

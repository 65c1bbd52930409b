"""Two small networks of face-api: one finds faces, the other the 68 landmarks of a face.

Architectures: npm package @vladmandic/face-api 1.7.15, src/tinyYolov2, src/tinyFaceDetector,
src/faceFeatureExtractor and src/faceLandmarkNet. The detector is a YOLO v2 of separable
convolutions. Their weights come with vox2face; `scripts/convert_face_nets.py` made the files.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.safetensors_values import read_tensors
from vox2face.zoo.presets import MEAN_DLIB_RGB

ASSETS = Path(str(resources.files("vox2face"))) / "assets" / "face-api"
DETECTOR, LANDMARKS = "tiny_face_detector.safetensors", "face_landmark_68.safetensors"

# Width and height in cells of the boxes that the detector stretches
ANCHORS = (
    (1.603231, 2.094468),
    (6.041143, 7.080126),
    (2.882459, 3.518061),
    (4.266906, 5.178857),
    (9.041765, 10.66308),
)
MEAN_DETECTOR_RGB = (117.001, 114.697, 97.404)
SLOPE = 0.1  # of the leaky ReLU
FACE_SIZE = 112  # pixels of the landmark network's pictures


class Separable(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution with bias."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        padding = 1 if stride == 1 else 0
        self.depthwise = nn.Conv2d(width, width, 3, stride, padding, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, out, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved maps; a stride of 2 halves an even size."""
        x = functional.pad(x, (0, 1, 0, 1)) if self.stride == 2 else x
        y: Tensor = self.pointwise(self.depthwise(x))
        return y + self.bias[:, None, None]


class FaceDetector(nn.Module):
    """RGB pictures 0..255, float32 (n, 3, size, size), to a score and a box for every anchor.

    `size` is a multiple of 32. Weights: tiny_face_detector_model.
    """

    mean: Tensor
    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = (16, 32, 64, 128, 256, 512)
        self.conv0 = nn.Conv2d(3, sizes[0], 3)
        self.separable = len(sizes)
        for number in range(1, self.separable):
            self.add_module(f"conv{number}", Separable(sizes[number - 1], sizes[number]))
        self.conv8 = nn.Conv2d(sizes[-1], 5 * len(ANCHORS), 1)
        mean = torch.tensor(MEAN_DETECTOR_RGB).view(3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("anchors", torch.tensor(ANCHORS), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (n, boxes), 0..1, and boxes (n, boxes, 4): left, top, right, bottom.

        Boxes are in pixels of the picture given.
        """
        size = x.shape[-1]
        x = functional.leaky_relu(self.conv0((x - self.mean) / 255), SLOPE)
        for number in range(1, self.separable):
            x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = functional.leaky_relu(self.get_submodule(f"conv{number}")(x), SLOPE)
        x = functional.pad(x, (0, 1, 0, 1), value=float("-inf"))
        x = self.conv8(functional.max_pool2d(x, 2, 1))
        return self.decoded(x, size)

    def decoded(self, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return scores and boxes from what the last layer says of each cell and anchor."""
        cells = x.shape[-1]
        x = x.reshape(-1, len(ANCHORS), 5, cells, cells).permute(0, 3, 4, 1, 2)
        line = torch.arange(cells, device=x.device)
        cell = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).unsqueeze(2)
        center = (cell + x[..., :2].sigmoid()) * (size / cells)
        half = x[..., 2:4].exp() * self.anchors * (size / cells / 2)
        boxes = torch.cat([center - half, center + half], -1)
        return x[..., 4].sigmoid().flatten(1), boxes.flatten(1, 3)


class Dense(nn.Module):
    """Four convolutions, each of which sees the sum of those before; the first halves the map."""

    def __init__(self, width: int, out: int, first: bool) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(width, out, 3, 2) if first else Separable(width, out, 2)
        self.first = first
        for number in (1, 2, 3):
            self.add_module(f"conv{number}", Separable(out, out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of all four, without what is negative."""
        x = functional.pad(x, (0, 1, 0, 1)) if self.first else x
        x = functional.relu(self.conv0(x))
        total = x
        for number in (1, 2, 3):
            total = total + self.get_submodule(f"conv{number}")(functional.relu(total))
        return functional.relu(total)


class LandmarkNet(nn.Module):
    """RGB faces 0..255, float32 (n, 3, 112, 112), to landmarks (n, 68, 2) as (x, y), 0..1.

    Weights: face_landmark_68_model.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, 32, 64, 128, 256)
        for number in range(4):
            block = Dense(sizes[number], sizes[number + 1], first=number == 0)
            self.add_module(f"dense{number}", block)
        self.fc = nn.Linear(sizes[-1], 136)
        self.register_buffer("mean", torch.tensor(MEAN_DLIB_RGB).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the landmarks as parts of the width and height."""
        x = (x - self.mean) / 255
        for number in range(4):
            x = self.get_submodule(f"dense{number}")(x)
        points: Tensor = self.fc(x.mean((2, 3)))
        return points.reshape(-1, 68, 2)


@cache
def networks() -> tuple[FaceDetector, LandmarkNet]:
    """Return the two networks with the weights that come with vox2face; they are read once."""
    detector, landmark_net = FaceDetector(), LandmarkNet()
    detector.load_state_dict(read_tensors(ASSETS / DETECTOR))
    landmark_net.load_state_dict(read_tensors(ASSETS / LANDMARKS))
    return detector.eval(), landmark_net.eval()

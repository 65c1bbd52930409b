"""What stands behind a face decoder: its raw values become a picture and landmarks."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from vox2face.core.safetensors_values import read_tensors
from vox2face.zoo.networks.face_decoder import MEAN
from vox2face.zoo.networks.warp import LandmarkWarp, reduce_72


class FaceTail(nn.Module):
    """Raw landmarks (n, 2 points) and textures (n, 3, size, size) to a picture and 68 landmarks.

    Textures are clipped to 0..1. Without mean landmarks the texture is the picture; with them,
    (68, 2) pixels, it is warped from there to the predicted landmarks; `step` is that of
    `LandmarkWarp`.
    """

    def __init__(
        self, mean_landmarks: Tensor | None = None, size: int = 224, step: int = 1
    ) -> None:
        super().__init__()
        self.warp = None if mean_landmarks is None else LandmarkWarp(mean_landmarks, size, step)

    def forward(self, landmarks: Tensor, texture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures and textures, RGB 0..1, and landmarks (n, 68, 2) in pixels, (x, y)."""
        points = self.points(landmarks)
        texture = texture.clamp(0, 1)
        picture = texture if self.warp is None else self.warp(texture, points).clamp(0, 1)
        return picture, texture, points

    def points(self, landmarks: Tensor) -> Tensor:
        """Return the 68 landmarks (n, 68, 2) of raw values (n, 2 points)."""
        points = landmarks.reshape(landmarks.shape[0], -1, 2)
        return reduce_72(points) if points.shape[1] == 72 else points


def stored_tail(weights: Path) -> FaceTail:
    """Return the tail of a decoder from its safetensors file, in eval mode."""
    return FaceTail(read_tensors(weights, {MEAN}).get(MEAN)).eval()

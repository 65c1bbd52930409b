"""The warp: a texture at the mean landmarks becomes a picture at the landmarks of a face.

Cole et al., Synthesizing Normalized Faces from Facial Identity Features, CVPR 2017; the spline is
that of sparse_image_warp in TensorFlow Addons, of order 1. Points are (x, y) in pixels, and the
centre of the first pixel is (0, 0).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Points = TypeVar("Points", bound=Any)

# Squares are 1e-10 at least, so that the gradient of a distance of 0 is 0 and not undefined.
TINY = 1e-10

# Pixels added to the kernel's diagonal. Landmarks that coincide but ought to move differently meet
# halfway; others are missed by some ten-thousandths of a pixel.
RIDGE = 1e-3

# Newton-Schulz steps. 14 suffice for landmarks that lie pixels apart, 20 where they are a tenth of
# a pixel apart; more would only let the rounding grow where they coincide.
STEPS = 20

# Landmarks further outside are taken to be this many sizes away: there is nothing to see, and
# float32 would run out of digits.
REACH = 1.0

# The 68 landmarks as the dictionary of face_recognition's face_landmarks() lists them one after
# another: chin, eyebrows, nose bridge and tip, eyes, then both lips, which share their corners.
# Source: face_recognition 1.3.0, api.py.
TOP_LIP = (48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60)
BOTTOM_LIP = (54, 55, 56, 57, 58, 59, 48, 60, 67, 66, 65, 64)
ORDER_72 = (*range(48), *TOP_LIP, *BOTTOM_LIP)
FIRST = [ORDER_72.index(point) for point in range(68)]
LAST = [71 - ORDER_72[::-1].index(point) for point in range(68)]


def reduce_72(points: Points) -> Points:
    """Return the 68 landmarks among the 72 that Speech-to-face predicts, of (..., 72, 2).

    The four points that both lips have are there twice and are averaged. Takes tensors and arrays.
    """
    reduced: Points = (points[..., FIRST, :] + points[..., LAST, :]) / 2
    return reduced


class LandmarkWarp(nn.Module):
    """Textures (n, 3, size, size), landmarks (n, points, 2) to pictures (n, 3, size, size).

    What is at `mean_landmarks` (points, 2) in the texture is at the landmarks in the picture; the
    corners of the picture and the middles of its edges stay where they are. Both are in pixels.
    Landmarks equal to the mean leave the texture as it is, bit for bit. Landmarks that coincide
    or lie far outside give finite pictures and gradients.

    The spline's weights solve a symmetric system. Three corners take up its affine side
    conditions, which leaves a positive definite matrix; its inverse then takes products only, so
    the module exports to ONNX, which knows no solver.

    With a `step` of 4 the spline is computed at every fourth pixel or so and linearly in between: a
    tenth of the time, for training, and mostly within a tenth of a pixel.
    """

    mean_landmarks: Tensor
    anchors: Tensor
    border: Tensor

    def __init__(self, mean_landmarks: Tensor, size: int = 224, step: int = 1) -> None:
        super().__init__()
        self.size, self.step = size, step
        last = float(size - 1)
        half = last / 2
        anchors = [(0.0, 0.0), (last, 0.0), (0.0, last)]
        border = [(last, last), (half, 0.0), (0.0, half), (last, half), (half, last)]
        self.register_buffer("mean_landmarks", mean_landmarks.detach().clone().float())
        self.register_buffer("anchors", torch.tensor(anchors), persistent=False)
        self.register_buffer("border", torch.tensor(border), persistent=False)

    def forward(self, texture: Tensor, landmarks: Tensor) -> Tensor:
        """Return the pictures, in the texture's dtype; computes in float32 at least."""
        device = texture.device.type
        enabled = torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False) if enabled else nullcontext():
            places = self.places(landmarks)
            return sampled(texture.to(places.dtype), places).to(texture.dtype)

    def places(self, landmarks: Tensor) -> Tensor:
        """Return where in the texture each pixel comes from, (n, size, size, 2) as (x, y)."""
        dtype = torch.promote_types(landmarks.dtype, torch.float32)
        far = REACH * self.size
        moved = landmarks.to(dtype).clamp(-far, self.size - 1 + far)
        border = self.border.to(dtype).expand(moved.shape[0], -1, -1)
        moves = torch.cat([moved - self.mean_landmarks.to(dtype), torch.zeros_like(border)], 1)
        centers = torch.cat([moved, border], 1)
        line = torch.arange(self.size, dtype=dtype, device=landmarks.device)
        pixel = squared(line)
        if self.step == 1:
            return pixel - self.flow(centers, moves, pixel)
        some = torch.linspace(0, self.size - 1, self.size // self.step + 1).to(line)
        coarse = self.flow(centers, moves, squared(some)).permute(0, 3, 1, 2)
        fine = functional.interpolate(coarse, pixel.shape[:2], mode="bilinear", align_corners=True)
        return pixel - fine.permute(0, 2, 3, 1)

    def flow(self, centers: Tensor, moves: Tensor, pixel: Tensor) -> Tensor:
        """Return the spline through `moves` (n, m, 2) at `centers` and 0 at the anchors.

        `pixel` are the points (size, size, 2) at which it is wanted; the result has the shape
        (n, size, size, 2).
        """
        anchors = self.anchors.to(centers.dtype)
        own, shared = self.barycentric(centers), distances(centers, anchors)
        among = distances(anchors, anchors)
        kernel = shared @ own.mT + own @ shared.mT - own @ among @ own.mT
        weights = _solved(kernel - distances(centers, centers), moves)
        balance = -own.mT @ weights  # of the anchors, so that the forces and moments vanish
        level = shared.mT @ weights + among @ balance
        x, y = torch.cat([centers, anchors.expand(centers.shape[0], -1, -1)], 1).unbind(-1)
        across = (pixel[0, :, :1] - x[:, None]).square()
        down = (pixel[:, 0, 1:] - y[:, None]).square()
        far = (across[:, None] + down[:, :, None] + TINY).sqrt()
        bent = far @ torch.cat([weights, balance], 1)[:, None]
        return self.barycentric(pixel) @ level[:, None] - bent

    def barycentric(self, points: Tensor) -> Tensor:
        """Return points (..., 2) as weights (..., 3) of the three anchors."""
        part = points / (self.size - 1)
        return torch.cat([1 - part.sum(-1, keepdim=True), part], -1)


def squared(line: Tensor) -> Tensor:
    """Return the points (n, n, 2), as (x, y), whose coordinates are those of a line (n,)."""
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the distances between points (..., m, 2) and (..., k, 2) as (..., m, k)."""
    return ((a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1) + TINY).sqrt()


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """Return the solution of positive definite systems (n, m, m), (n, m, k), by products alone.

    Newton-Schulz steps approach the inverse, and one step of refinement makes up for their
    rounding.
    """
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    matrix = matrix + RIDGE * eye
    inverse = eye / matrix.abs().sum(-1).amax(-1)[:, None, None]
    for _ in range(STEPS):
        inverse = inverse @ (2 * eye - matrix @ inverse)
    found = inverse @ right
    return found + inverse @ (right - matrix @ found)


def sampled(texture: Tensor, places: Tensor) -> Tensor:
    """Return the texture at places (n, height, width, 2), bilinearly; outside, its border.

    The texture is padded until half its width is a power of two: then the sampler's coordinates
    stand for whole pixels exactly, and a picture that does not move is returned bit for bit.
    """
    last = texture.shape[-1] - 1
    reach = 1 << max(last - 1, 0).bit_length()
    padded = functional.pad(texture, (0, reach - last, 0, reach - last))
    grid = places.clamp(0, last) * (2 / reach) - 1
    return functional.grid_sample(padded, grid, mode="bilinear", align_corners=True)

"""The front end of face encoders: resize and scale pixels as the original code did."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from vox2face.media.image import BLOCK, bands
from vox2face.zoo.frontends import fixed_point
from vox2face.zoo.presets import FacePreset

FIXED_POINT = float(1 << 22)  # Pillow keeps its filter weights as integers of 22 fractional bits


class FaceInput(nn.Module):
    """RGB uint8 pictures (n, height, width, 3) to a face encoder's float32 (n, 3, size, size).

    Resampling is a product with one small matrix for each axis; the black border of a letterbox
    is a matrix row of zeros. Height and width may differ from call to call, and the module
    exports to ONNX with both as free axes.

    With `smooth` it takes float pictures, leaves out the rounding to whole grey levels and
    computes in float32, so that gradients flow through it to the picture.
    """

    mean: Tensor

    def __init__(self, preset: FacePreset, size: int = 224, smooth: bool = False) -> None:
        super().__init__()
        self.preset, self.size, self.smooth = preset, size, smooth
        self.register_buffer("mean", torch.tensor(preset.mean).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the preprocessed pictures; every picture of a batch has the same size."""
        height, width = x.shape[1], x.shape[2]
        rows, columns = self.fitted(height, width, x.device)
        if self.preset.filter == "cv2-linear-uint8" and not self.smooth:
            y = fixed_point.letterboxed(x, rows, columns, self.size).float()
        else:
            horizontal = self.matrix(width, columns, x.device)
            vertical = self.matrix(height, rows, x.device)
            y = self.rounded(self.resampled(x, horizontal, vertical)).float()
        if self.preset.color == "BGR":
            y = y.flip(1)
        return (y - self.mean) * self.preset.scale

    def resampled(self, x: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
        """Resample, some rows at a time: a large picture as floats takes gigabytes."""
        if torch.compiler.is_compiling():  # also while a graph is exported
            return torch.einsum("nchw,oh->ncow", self.narrowed(x, horizontal), vertical)
        places = list(bands(x.shape[2], x.shape[1]))
        narrow = (self.narrowed(x[:, top:bottom], horizontal) for top, bottom in places)
        pairs = zip(places, narrow, strict=True)
        if vertical.dtype == torch.float64:
            # Pillow's weights and whole grey levels add up exactly, whatever the order
            parts = (torch.einsum("nchw,oh->ncow", y, vertical[:, i:j]) for (i, j), y in pairs)
            return reduce(torch.add, parts)
        whole = vertical.new_empty((len(x), x.shape[3], x.shape[1], self.size))
        for (top, bottom), y in pairs:
            whole[:, :, top:bottom] = y
        return torch.einsum("nchw,oh->ncow", whole, vertical)

    def narrowed(self, x: Tensor, weights: Tensor) -> Tensor:
        """Resample the columns of some rows."""
        return self.rounded(torch.einsum("nhwc,ow->ncho", x.to(weights.dtype), weights))

    def rounded(self, y: Tensor) -> Tensor:
        """Pillow rounds to whole grey levels after each axis; OpenCV on floats does not.

        The columns come first, as in every Pillow before 13; Pillow 13 picks the cheaper order,
        which moves some pixels of tall pictures by one level.
        """
        if self.preset.filter == "pil-bilinear" and not self.smooth:
            return torch.floor(y + 0.5).clamp(0, 255)
        return y

    def fitted(self, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return how many rows and columns of the square the picture covers."""
        square = torch.full((), float(self.size), dtype=torch.float64, device=device)
        if self.preset.fit == "stretch":
            return square, square
        sizes = [torch.full((), n, dtype=torch.float64, device=device) for n in (height, width)]
        factor = torch.minimum(square / sizes[0], square / sizes[1])
        return torch.floor(sizes[0] * factor), torch.floor(sizes[1] * factor)

    def matrix(self, size: int, covered: Tensor, device: torch.device) -> Tensor:
        """Return the (self.size, size) weights that resample `size` pixels to `covered` ones.

        A long axis takes some rows of the matrix at a time, since each takes memory several times.
        """
        out = torch.arange(self.size, dtype=torch.float64, device=device)
        if torch.compiler.is_compiling() or self.size * size <= BLOCK:
            return self.matrix_rows(out, size, covered)
        rows = torch.split(out, BLOCK // size + 1)
        return torch.cat([self.matrix_rows(some, size, covered) for some in rows])

    def matrix_rows(self, out: Tensor, size: int, covered: Tensor) -> Tensor:
        """Return the rows of the matrix that give the pixels `out`."""
        device = out.device
        pixel = torch.arange(size, dtype=torch.float64, device=device)
        border = torch.floor((self.size - covered) / 2)
        place = out - border
        ratio = torch.full((), size, dtype=torch.float64, device=device) / covered
        weights = FILTERS[self.preset.filter](place, pixel, ratio)
        inside = (place >= 0) & (place < covered)
        weights = weights * inside.unsqueeze(1)
        exact = self.preset.filter == "pil-bilinear" and not self.smooth
        return weights if exact else weights.float()


def _cv2_linear(place: Tensor, pixel: Tensor, ratio: Tensor) -> Tensor:
    """OpenCV's INTER_LINEAR: the two nearest pixels, the edge repeated."""
    last = pixel[-1]
    center = torch.minimum(((place + 0.5) * ratio - 0.5).clamp(min=0), last)
    return (1 - (pixel - center.unsqueeze(1)).abs()).clamp(min=0)


def _pil_bilinear(place: Tensor, pixel: Tensor, ratio: Tensor) -> Tensor:
    """Pillow's BILINEAR: a triangle as wide as one output pixel, in its fixed-point weights."""
    reach = ratio.clamp(min=1)
    center = ((place + 0.5) * ratio).unsqueeze(1)
    first = torch.floor(center - reach + 0.5).clamp(min=0)
    end = torch.minimum(torch.floor(center + reach + 0.5), pixel[-1] + 1)
    weights = (1 - ((pixel + 0.5 - center) / reach).abs()).clamp(min=0)
    weights = weights * ((pixel >= first) & (pixel < end))
    weights = weights / weights.sum(1, keepdim=True)
    return torch.floor(weights * FIXED_POINT + 0.5) / FIXED_POINT


def _pil_nearest(place: Tensor, pixel: Tensor, ratio: Tensor) -> Tensor:
    """Pillow's NEAREST: the pixel under the centre of the output pixel."""
    chosen = torch.floor((place + 0.5) * ratio)
    return (pixel == chosen.unsqueeze(1)).double()


FILTERS = {
    "cv2-linear": _cv2_linear,
    "cv2-linear-uint8": _cv2_linear,  # but for its rounding
    "pil-bilinear": _pil_bilinear,
    "pil-nearest": _pil_nearest,
}

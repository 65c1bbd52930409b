"""Decoded pictures are judged without a network: likeness, sharpness and lattice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from vox2face.media.image import samples
from vox2face.train.metrics import pictures as measures


@pytest.fixture(scope="module")
def face() -> Tensor:
    pixels = samples()["head.png"][:224, :224]
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None] / 255


def blurred(pictures: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(pictures, 5, 1, 2, count_include_pad=False)


def test_ssim_is_scikit_images(face: Tensor) -> None:
    other = blurred(face)
    small, smaller = measures.reduced(face)[0].numpy(), measures.reduced(other)[0].numpy()
    theirs = [
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        for a, b in zip(small, smaller, strict=True)
    ]
    # theirs pads the border before it cuts it off; ours never looks there
    assert measures.ssim(face, other).item() == pytest.approx(np.mean(theirs), abs=2e-3)
    assert measures.ssim(face, face).item() == pytest.approx(1)


def test_blur_is_less_sharp_and_a_lattice_is_found(face: Tensor) -> None:
    assert measures.sharpness(blurred(face)) < 0.9 * measures.sharpness(face)
    board = (torch.arange(224)[:, None] + torch.arange(224)) % 2
    assert measures.lattice(face) < 1.2 < measures.lattice(face + 0.02 * board)
    assert measures.mean_absolute_error(face, 0.5 + 0 * face).shape == (1,)
    with pytest.raises(ValueError, match="112, 224"):
        measures.sharpness(face[..., :100, :100])

"""The decoder of normalised faces: what it starts from, and that it leaves no lattice."""

from __future__ import annotations

import torch
from helpers.twins import random_module

from vox2face.converters.maps.upsampling_decoder import TABLE
from vox2face.train.metrics.pictures import lattice
from vox2face.zoo import registry
from vox2face.zoo.networks.upsampling_decoder import UpsamplingDecoder, infer_config


def test_shapes_tell_what_it_was_built_with() -> None:
    for name in ("face_decoder.small", "face_decoder.medium"):
        module = registry.build(registry.entry(name), {"width": 64})
        shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
        again = UpsamplingDecoder(**infer_config(shapes))
        assert {key: tuple(value.shape) for key, value in again.state_dict().items()} == shapes
    full = UpsamplingDecoder().state_dict()
    assert {rule.target: rule.target_shape for rule in TABLE.rules} == {
        name: tuple(value.shape) for name, value in full.items()
    }


def test_an_untrained_one_draws_the_mean_picture_without_a_lattice() -> None:
    module = UpsamplingDecoder(width=128).eval()
    with torch.no_grad():
        module.mean_picture.copy_(torch.rand(3, 1, 1).expand(3, 224, 224))
        landmarks, pictures = module(torch.randn(4, 128))
        assert landmarks.shape == (4, 136) and pictures.shape == (4, 3, 224, 224)
        assert (pictures - module.mean_picture).abs().max() < 0.1
        assert lattice(random_module("face_decoder.small")(torch.randn(4, 48))[1]).max() < 1.5

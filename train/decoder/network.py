"""The face decoder as training starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vox2face.core.errors import UsageError
from vox2face.runtime.resolve import locate
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.pairing import spread_over
from vox2face.train.decoder.task import MOST, Decoder
from vox2face.train.trainer.network import check_shapes, constructed, tensors_of
from vox2face.zoo import registry
from vox2face.zoo.networks.upsampling_decoder import UpsamplingDecoder

if TYPE_CHECKING:
    from vox2face.train.decoder.recipe import Network

POINTS, SIDE = (136, 144), 224  # numbers of 68 or 72 landmarks; pixels
SAMPLE = 500  # pictures whose mean colour the decoder starts from


def build(settings: Network, width: int, seed: int) -> Decoder:
    """Return the network of a recipe for embeddings of `width` values.

    Raises `UsageError` for an entry that is not a face decoder, options it does not have, and
    weights of another network.
    """
    entry = registry.entry(settings.entry)
    if entry.kind != "face-decoder":
        raise UsageError(f"{entry.name} is not a face decoder: network.entry has to be one.")
    weights = tensors_of(settings.init_from)
    torch.manual_seed(seed)
    try:
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        sizes = registry.options(entry, shapes) if weights else {}
        sizes |= locate(settings.init_from).entry.variant if weights else {}
    except (LookupError, ValueError, TypeError) as error:
        raise UsageError(
            f"network.init_from is {settings.init_from}, which is not a {entry.name}: name a "
            "decoder."
        ) from error
    options = {**sizes, **settings.options, "width": width}
    network: Decoder = constructed(entry, options)
    try:
        if weights:
            network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(
            f"network.init_from is {settings.init_from}, which does not fit {entry.name} for "
            f"embeddings of {width} values ({reason})."
        ) from error
    check_shapes(network, entry.name, lambda: pictures(network(torch.zeros(1, width))))
    return network


def pictures(decoded: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Raise `ValueError` unless what was decoded are landmarks and a picture."""
    landmarks, texture = decoded
    if landmarks.shape[1] not in POINTS or texture.shape[1:] != (3, SIDE, SIDE):
        raise ValueError(
            f"it decodes {landmarks.shape[1] // 2} landmarks and a texture "
            f"{tuple(texture.shape[1:])}, not 68 or 72 and (3, {SIDE}, {SIDE})"
        )


def init_to_data(network: Decoder, source: FaceDecoderDataset, settings: Network) -> None:
    """Give a decoder the mean landmarks of the corpus, and let it start at its mean face."""
    if isinstance(network, UpsamplingDecoder):
        if settings.init_to_mean and not settings.init_from:
            _init_to_mean(network, source)
        return
    mean = torch.from_numpy(source.prepared.mean_landmarks)
    if network.mean_landmarks is not None and not settings.init_from:
        network.mean_landmarks.copy_(mean)
    if not settings.init_to_mean:
        return
    rows = source.targets[spread_over(len(source), SAMPLE)]
    colour = np.mean([source.prepared.textures[int(row)].mean((0, 1)) for row in rows], axis=0)
    landmarks: Any = network.landmark_layers[-1]
    texture: Any = network.texture_layers[-1]
    points = landmarks[0].bias.numel() // 2
    with torch.no_grad():
        landmarks[0].bias.copy_(_in_order(mean, points).flatten())
        shade = torch.from_numpy(colour / MOST)
        texture[0].bias.copy_(
            shade.logit(eps=1e-3) if network.output_activation == "sigmoid" else shade
        )


def _init_to_mean(network: UpsamplingDecoder, source: FaceDecoderDataset) -> None:
    """Give a decoder the mean picture, the mean landmarks and the statistics of the embeddings."""
    places = spread_over(len(source), SAMPLE)
    pictures = [source.prepared.picture(int(row)) for row in source.targets[places]]
    faces = np.stack([source.embeddings[int(row)] for row in source.groups.pictures])
    with torch.no_grad():
        picture = torch.from_numpy(np.stack(pictures).mean(0, dtype=np.float32) / MOST)
        network.mean_picture.copy_(picture.permute(2, 0, 1))
        points = mean_shape(source)
        network.landmarks.bias.copy_(_in_order(points, network.landmarks.out_features // 2).ravel())
        network.embedding_mean.copy_(torch.from_numpy(faces.mean(0)))
        network.embedding_std.copy_(torch.from_numpy(faces.std(0)).clamp_min(1e-6))


def mean_shape(source: FaceDecoderDataset) -> torch.Tensor:
    """Return the mean landmarks (68, 2) of the pictures to draw, of at most `SAMPLE` of them."""
    rows = source.targets[spread_over(len(source), SAMPLE)]
    found = np.mean([source.prepared.landmarks[int(row)] for row in rows], axis=0)
    return torch.from_numpy(found.astype(np.float32))


def _in_order(landmarks: torch.Tensor, points: int) -> torch.Tensor:
    """Return 68 landmarks as the 68 or 72 of a decoder."""
    from vox2face.zoo.networks.warp import ORDER_72

    return landmarks[list(ORDER_72)] if points == len(ORDER_72) else landmarks

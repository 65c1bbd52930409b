"""Which layers of a voice encoder are trained, and where its frozen part ends."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError
from vox2face.train.trainer.network import constructed, tensors_of
from vox2face.train.trainer.task import freeze
from vox2face.zoo import registry
from vox2face.zoo.networks import ge2e, mlp_head, spectrogram_transformer, ve_conv
from vox2face.zoo.networks.base import Tapped

if TYPE_CHECKING:
    from vox2face.train.voice.recipe import Network

Modules = list[nn.Module]
MOST = 1e4  # how much louder a value of a frozen encoder may become
NEAR = 0.05  # of the usual weights of a last layer that starts at a mean


@dataclass(frozen=True)
class Anatomy:
    """How a kind of network divides: `backbone(network)` layer by layer, the lowest first, `head`.

    `feature_layer` names the activation that the head takes in, and `finish(network, activation)`
    is what the head makes of it; without one the network has no part worth computing once. `fixed`
    are layers that are never trained.
    """

    backbone: Callable[[Any], list[Modules]]
    head: Callable[[Any], Modules]
    feature_layer: str = ""
    finish: Callable[[Any, Tensor], Tensor] | None = None
    fixed: Callable[[Any], Modules] = lambda network: []


def _ast_backbone(network: spectrogram_transformer.AST) -> list[Modules]:
    """Return the patches, then the blocks; the last norm goes with the last block."""
    blocks: list[Modules] = [[block] for block in network.blocks]
    blocks[-1].append(network.norm)
    return [[network.patches], *blocks]


def _mlp_finish(network: mlp_head.MLPHead, embedding: Tensor) -> Tensor:
    """Return the embedding from that of the frozen encoder."""
    x: Tensor = network.fc2(functional.relu(network.fc1(embedding)))
    return x


ANATOMY: dict[type[nn.Module], Anatomy] = {
    ve_conv.VEConv: Anatomy(
        lambda net: [[net.get_submodule(f"layer{n}")] for n in range(1, 11)],
        lambda net: [net.layer11],
    ),
    spectrogram_transformer.AST: Anatomy(
        _ast_backbone,
        lambda net: [net.head_norm, net.head],
        "pooled",
        spectrogram_transformer.AST.finished,
    ),
    mlp_head.MLPHead: Anatomy(
        lambda net: [],
        lambda net: [net.fc1, net.fc2],
        "base/mean",
        _mlp_finish,
        lambda net: [net.base],
    ),
}


def anatomy(network: nn.Module) -> Anatomy:
    """Return how a network divides."""
    return ANATOMY[type(network)]


def require_trains(network: nn.Module, trainable: str, key: str = "trainable") -> int:
    """Return how many layers of the backbone a phase trains: N of "top-N", all of "all", else none.

    Raises `UsageError` for other words, and for more layers than the network has.
    """
    layers = len(anatomy(network).backbone(network))
    match = re.fullmatch(r"all|head|top-(\d{1,9})", trainable)
    if not match or int(match[1] or 0) > layers:
        raise UsageError(f"{key} is {trainable!r}: use all, head, or top-N with N up to {layers}.")
    return layers if trainable == "all" else int(match[1] or 0)


def set_trained(network: nn.Module, trainable: str) -> None:
    """Let gradients flow into what a phase trains, "all", "head" or "top-N", and nothing else."""
    count, parts = require_trains(network, trainable), anatomy(network)
    backbone = parts.backbone(network)
    network.requires_grad_(trainable == "all")
    chosen = [module for layer in backbone[len(backbone) - count :] for module in layer]
    for module in [*chosen, *parts.head(network)]:
        module.requires_grad_(True)
    for module in parts.fixed(network):
        freeze(module)


def untrained(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a network whose parameters take no gradients: statistics stay too."""
    own = ((module, list(module.parameters(recurse=False))) for module in network.modules())
    return [
        m for m, parameters in own if parameters and not any(p.requires_grad for p in parameters)
    ]


def parameter_groups(network: nn.Module, lr: float, backbone_lr: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups: the head, and everything else that is trained."""
    head = {id(p) for module in anatomy(network).head(network) for p in module.parameters()}
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if id(p) in head], "lr": lr},
        {"params": [p for p in trained if id(p) not in head], "lr": backbone_lr},
    ]


def has_frozen_backbone(network: nn.Module) -> bool:
    """Whether everything below the head is frozen, so that its output can be computed once."""
    parts = anatomy(network)
    head = {id(p) for module in parts.head(network) for p in module.parameters()}
    rest = (p for p in network.parameters() if id(p) not in head)
    return bool(parts.feature_layer) and not any(p.requires_grad for p in rest)


def freezes_backbone(network: nn.Module, trainable: str) -> bool:
    """Whether a phase that trains this leaves everything below the head frozen."""
    parts = anatomy(network)
    return (
        bool(parts.feature_layer) and trainable != "all" and not require_trains(network, trainable)
    )


def backbone_hash(network: nn.Module) -> str:
    """Return a hash of all weights below the head, which make what the head takes in."""
    head = {p.data_ptr() for module in anatomy(network).head(network) for p in module.parameters()}
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if tensor.data_ptr() not in head:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def build(settings: Network, width: int, seed: int) -> Tapped:
    """Return the network of a recipe for embeddings of `width` values.

    What `settings.init_from` has no weights for, such as a head, is drawn; the head of an AST then
    starts at a standard deviation of 0.02 and no bias. Raises `UsageError` for an entry that is no
    voice encoder of free size, for options it does not have, and for weights that do not fit.
    """
    entry = registry.entry(settings.entry)
    if entry.kind != "voice-encoder" or not entry.any_size:
        raise UsageError(f"{entry.name} cannot be trained here: network.entry is a voice encoder.")
    start = tensors_of(settings.init_from)
    torch.manual_seed(seed)
    kept = {**sizes(entry, start, settings.init_from), **ending(settings.init_from, width)}
    options = {**kept, **settings.options, "width": width}
    network: Tapped = constructed(entry, options)
    if type(network) not in ANATOMY:
        raise UsageError(
            f"{entry.name} has no head for faces: train one on it, as the recipe tiny-ge2e does."
        )
    if isinstance(network, spectrogram_transformer.AST):
        nn.init.trunc_normal_(network.head.weight, std=0.02)
        nn.init.zeros_(network.head.bias)
    if start:
        _start_from(network, start, settings.init_from)
    return network


def ending(start: str, width: int) -> dict[str, str]:
    """Return what a network ends in that keeps the head of the weights it starts from."""
    from vox2face.runtime.resolve import locate

    model = locate(start).entry if start else None
    return model.variant if model is not None and model.width == width else {}


def init_to_mean(network: nn.Module, mean: Tensor) -> None:
    """Initialise a network to output nearly a mean embedding (width,) for any input.

    Embeddings of faces differ by little from their mean; a last layer of usual weights would be
    far off, and pulling it back breaks the layers below. A VE_conv also starts with its second
    channel near zero: phases are noise to layers that have learnt nothing, and four times as loud
    as the magnitudes.
    """
    layers = (m for top in anatomy(network).head(network) for m in top.modules())
    last = [layer for layer in layers if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_(mean)
        last.weight.mul_(NEAR)
        if isinstance(network, ve_conv.VEConv):
            first = next(network.get_submodule("layer1").parameters())
            first[:, 1].mul_(NEAR)


def standardize(network: nn.Module, features: Tensor) -> None:
    """Let a fresh head on a frozen encoder take in that encoder's outputs (n, values) evenly.

    Every value counts as its distance from its mean in standard deviations: the first layer's
    weights and bias change so. Outputs that could not be computed are NaN and do not count.
    """
    if not isinstance(network, mlp_head.MLPHead):
        return
    good = features[~features[:, 0].isnan()].double()
    deviation = good.std(0, correction=0)
    scale = torch.where(deviation > 0, 1 / deviation, 0).clamp(max=MOST)
    with torch.no_grad():
        weight = network.fc1.weight.double() * scale
        network.fc1.bias.sub_(weight @ good.mean(0))
        network.fc1.weight.copy_(weight)


def sizes(entry: Entry, start: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Return what the network has to be built with so that the weights to start from fit."""
    if not start:
        return {}
    shapes = {key: tuple(tensor.shape) for key, tensor in start.items()}
    try:
        return registry.options(entry, shapes)
    except (KeyError, IndexError):
        pass
    try:  # the encoder that a head is to sit on
        base = ge2e.infer_config(shapes)
    except (KeyError, IndexError):
        raise _misfit(name, entry.name) from None
    return {"base": base, "inputs": base["width"]}


def _start_from(network: nn.Module, start: Mapping[str, Tensor], name: str) -> None:
    """Put weights in place; those of the head may be missing or of another width."""
    own = network.state_dict()
    below = {key if key in own else f"base.{key}": value for key, value in start.items()}
    fitting = {k: v for k, v in below.items() if k in own and own[k].shape == v.shape}
    head = {p.data_ptr() for module in anatomy(network).head(network) for p in module.parameters()}
    for key, value in own.items():
        counter = key.endswith("num_batches_tracked")
        if key not in fitting and value.data_ptr() not in head and not counter:
            raise _misfit(name, f"the recipe's network ({key})")
    network.load_state_dict({**own, **fitting})


def _misfit(name: str, wanted: str) -> UsageError:
    """Return the error for weights of another network."""
    return UsageError(
        f"The weights of {name} do not fit {wanted}: set network.init_from to weights of that "
        "architecture, or to nothing."
    )

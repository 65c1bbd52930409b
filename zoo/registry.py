"""Names to entries, and entries to networks with random weights."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vox2face.core.entry import Architecture, Entry, Space
from vox2face.core.errors import BundleError, UsageError
from vox2face.core.safetensors_header import FLOAT32, Stored, damaged, stored
from vox2face.zoo.catalog import ENTRIES
from vox2face.zoo.registration import KINDS, REGISTERED, register_packages

if TYPE_CHECKING:
    from torch import nn

SHOWN = 4  # problems that a message lists


def entries() -> Iterator[Entry]:
    """Yield all models: those of the zoo, then those that packages and `register` added.

    Foreign packages are imported only by who looks beyond the zoo.
    """
    yield from ENTRIES
    register_packages()
    yield from REGISTERED.values()


def list_models(pattern: str = "*", kind: str | None = None) -> list[str]:
    """Return the names of all models, of those that fit a pattern such as "vggface*", or of a kind.

    The name of a kind, such as "face-encoder", is a pattern too. Raises `UsageError` for a `kind`
    that there is not.
    """
    kinds = sorted(KINDS)
    if pattern in kinds:
        pattern, kind = "*", pattern
    if kind is not None and kind not in kinds:
        raise UsageError(f"There is no kind {kind!r}: choose one of {', '.join(kinds)}.")
    names = [entry.name for entry in entries() if kind in (None, entry.kind)]
    return [name for name in names if fnmatchcase(name, pattern)]


def entry(name: str) -> Entry:
    """Return the facts about a model by its registry name or an alias.

    Raises `UsageError` with the closest names when there is none.
    """
    for candidate in entries():
        if name == candidate.name or name in candidate.aliases:
            return candidate
    known = [n for e in entries() for n in (e.name, *e.aliases)]
    raise UsageError(
        f"There is no model {name!r}, nor a bundle's folder of that name. "
        f"{_suggestion(name, known)}"
    )


def _suggestion(name: str, known: Sequence[str]) -> str:
    """Return "Did you mean ...?" with near misses, or the list of what there is."""
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(folded[n] for n in near)}?"
    return f"There are: {', '.join(known)}."


def architecture(model: Entry) -> Architecture:
    """Return how the networks of an entry are built."""
    if isinstance(model.architecture, Architecture):
        return model.architecture
    found: Architecture = import_module(f"vox2face.zoo.networks.{model.architecture}").ARCHITECTURE
    return found


def build(model: Entry, config: Mapping[str, Any] | None = None) -> nn.Module:
    """Return the network of an entry with freshly drawn weights, in eval mode.

    `config` is what differs from the entry's own, such as {"width": 128}. Raises `UsageError` if
    an encoder's module does not say what its embedding is.
    """
    from vox2face.zoo.networks.base import Tapped

    given = {**model.config, **model.variant, **(config or {})}
    network: nn.Module = architecture(model).build(**given)
    tapped = isinstance(network, Tapped) and isinstance(getattr(network, "embedding", None), str)
    if model.kind != "face-decoder" and not tapped:
        raise UsageError(
            f"{model.name} is built as {type(network).__name__}, whose embedding has no name: let "
            "it be a vox2face.zoo.networks.base.Tapped with the attribute `embedding`."
        )
    return network.eval()


def options(model: Entry, tensors: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what to build a network with for weights of these shapes."""
    if model.any_size:
        infer_config = architecture(model).infer_config
        assert infer_config is not None, f"{model.name} is of any size: give it an infer_config"
        return infer_config(tensors)
    missing = model.classifier and f"{model.classifier}.weight" not in tensors
    return {"classes": 0} if missing else {}


def load_module(model: Entry, weights: Path) -> nn.Module:
    """Return the network of an entry with the weights of a safetensors file, in eval mode.

    They are read into memory: what becomes of the file afterwards does not matter. Raises
    `BundleError` unless these are the network's tensors, float32 and finite.
    """
    from vox2face.core.safetensors_values import values

    try:
        with weights.open("rb") as file:
            held = stored(file)
            network = empty(model, {name: place.shape for name, place in held.items()})
            _require_float32(model, held)
            network.load_state_dict(values(file, held), strict=True, assign=True)
    except BundleError as error:
        raise BundleError(f"{weights}: {error}") from error
    except (ValueError, OSError) as error:
        raise damaged(weights, error) from error
    return network.eval().requires_grad_(False)


def empty(model: Entry, shapes: Mapping[str, Sequence[int]]) -> nn.Module:
    """Return the network for weights of these shapes, without memory for its values.

    Raises `BundleError` unless these are its tensors.
    """
    import torch

    given = _checked_options(model, shapes)
    try:
        with torch.device("meta"):
            network = build(model, given)
    except UsageError:
        raise
    except Exception as error:  # networks and torch raise kinds of their own
        reason = str(error).partition("\n")[0]
        raise _misfit(model, reason[:200]) from error
    require_same(model, network, shapes)
    return network


def without_values(
    *parts: tuple[Entry, Mapping[str, Sequence[int]]], half: bool = False
) -> list[nn.Module]:
    """Return networks for weights of these shapes whose tensors have a type but no values.

    They are there to be exported, in float32 or as `half` in float16.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    dtype = torch.float16 if half else torch.float32
    networks = [empty(model, shapes).eval() for model, shapes in parts]
    with FakeTensorMode():
        for network, (_, shapes) in zip(networks, parts, strict=True):
            tensors = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
            network.load_state_dict(tensors, strict=True, assign=True)
    return [network.requires_grad_(False) for network in networks]


def _checked_options(model: Entry, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return `options`, or raise `BundleError` if no such network has tensors of these shapes."""
    try:
        return options(model, shapes)
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise _misfit(model, what[:200]) from error


def _require_float32(model: Entry, held: Mapping[str, Stored]) -> None:
    """Raise `BundleError`, with what differs, unless all tensors of a file are float32."""
    refuse(
        model,
        [
            f"{name} holds {place.dtype}, expected {FLOAT32}"
            for name, place in held.items()
            if place.dtype != FLOAT32
        ],
    )


def require_same(model: Entry, network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise `BundleError`, with what differs, unless these are the tensors of a network."""
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")  # counts in training, no weight
    }
    problems = [f"{name} is missing" for name in wanted.keys() - shapes.keys()]
    problems += [f"{name!r:.80} belongs to no layer" for name in shapes.keys() - wanted.keys()]
    problems += [
        f"{name} is {tuple(shape)}, expected {wanted[name]}"
        for name, shape in shapes.items()
        if tuple(shape) != wanted.get(name, tuple(shape))
    ]
    refuse(model, problems)


def refuse(model: Entry, problems: Sequence[str]) -> None:
    """Raise `BundleError` for tensors that are not those of a network, if there are problems."""
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise _misfit(model, "; ".join(sorted(problems)[:SHOWN]) + more)


def _misfit(model: Entry, reason: str) -> BundleError:
    """Return the error for tensors of another network."""
    return BundleError(
        f"these are no weights of {model.name} ({reason}): convert again with --force, or, if the "
        "model is yours, correct the rules of its weight map."
    )


def sized(model: Entry, shapes: Mapping[str, Sequence[int]], output_activation: str = "") -> Entry:
    """Return an entry whose inputs and outputs are as wide as weights of these shapes are.

    `output_activation` is what the network ends in, if not in what the published one does. Raises
    `BundleError` if no such network has tensors of these shapes.
    """
    if not model.any_size:
        return model
    model = replace(model, output_activation=output_activation or model.output_activation)
    given = _checked_options(model, shapes)
    widths = {"embedding": given["width"], "landmarks": 2 * given.get("points", 0)}
    outputs = tuple(
        replace(spec, shape=("batch", widths[spec.name])) if spec.name in widths else spec
        for spec in model.outputs
    )
    shape = {
        "frames": ("batch", given.get("frames", 0), *model.input.shape[2:]),
        "points": ("batch", given["width"]),
    }
    found = next((shape[key] for key in shape if key in given), model.input.shape)
    return replace(model, outputs=outputs, input=replace(model.input, shape=found))


def require_pair(
    encoder: Entry, made: Space, decoder: Entry, taken: Space, any_space: bool = False
) -> None:
    """Raise `UsageError` unless a decoder takes what an encoder makes: its width and its space.

    `any_space` lets embeddings of another space pass.
    """
    _require_same_width(encoder, decoder)
    if not any_space:
        require_same_space(encoder.name, made, decoder.name, taken)


def preset_for(own: Space, taken: Space) -> str:
    """Return the preprocessing that a face encoder of the space `own` needs for a decoder's input.

    It is the one that the decoder's embeddings were made with, if they are of this encoder.
    """
    same = own.encoder == taken.encoder or not taken.encoder
    return taken.preset if same and taken.preset else own.preset


def require_same_space(encoder: str, made: Space, other: str, taken: Space) -> None:
    """Raise `UsageError` if embeddings of the space `made` are not of the space `taken`."""
    if not made.fits(taken):
        raise UsageError(
            f"{encoder} gives embeddings of {made}, and {other} was made for those of {taken}, "
            "which do not compare: choose networks of one space, or go on regardless with "
            "--any-space (any_space=True in Python)."
        )


def _require_same_width(encoder: Entry, decoder: Entry) -> None:
    """Raise `UsageError` unless an encoder's embeddings are as wide as a decoder's input."""
    if encoder.width != decoder.width:
        raise UsageError(
            f"{encoder.name} gives embeddings of {encoder.width} values and {decoder.name} takes "
            f"{decoder.width}: choose a decoder that was trained for this encoder."
        )

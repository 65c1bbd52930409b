"""Load models by name and run them, on PyTorch or ONNX Runtime, behind one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar, Unpack, overload

import torch

from vox2face.converters.onnx import session as run_onnx
from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError
from vox2face.runtime.base import Loaded, on_device, started
from vox2face.runtime.face_decoder import FaceDecoder
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.resolve import kind_of, locate
from vox2face.runtime.voice_encoder import VoiceEncoder
from vox2face.store.bundle import ONNX, WEIGHTS, Bundle, read_parity
from vox2face.zoo import registry
from vox2face.zoo.catalog import DEFAULT_DECODER, DEFAULT_FACE, DEFAULT_VOICE
from vox2face.zoo.names import FaceDecoderName, FaceEncoderName, VoiceEncoderName
from vox2face.zoo.presets import meaning, require_preset

Model = TypeVar("Model", bound=Loaded)
BACKENDS = ("torch", "onnx")
KINDS: dict[str, type[Loaded]] = {
    "face-encoder": FaceEncoder,
    "voice-encoder": VoiceEncoder,
    "face-decoder": FaceDecoder,
}


class LoadOptions(TypedDict, total=False):
    """What `load` and the loaders of one kind take beside a name."""

    backend: str
    device: str | torch.device
    preset: str | None
    pretrained: bool
    verify: bool
    provider_options: Mapping[str, Any] | None


@overload
def load(name: FaceEncoderName, **options: Unpack[LoadOptions]) -> FaceEncoder: ...
@overload
def load(name: VoiceEncoderName, **options: Unpack[LoadOptions]) -> VoiceEncoder: ...
@overload
def load(name: FaceDecoderName, **options: Unpack[LoadOptions]) -> FaceDecoder: ...
@overload
def load(
    name: str | os.PathLike[str],
    backend: str = "torch",
    device: str | torch.device = "cpu",
    preset: str | None = None,
    pretrained: bool = True,
    verify: bool = False,
    provider_options: Mapping[str, Any] | None = None,
) -> Any: ...
def load(
    name: str | os.PathLike[str],
    backend: str = "torch",
    device: str | torch.device = "cpu",
    preset: str | None = None,
    pretrained: bool = True,
    verify: bool = False,
    provider_options: Mapping[str, Any] | None = None,
) -> Any:
    """Load a model by registry name, alias, bundle folder or "hf:user/repo[@revision]".

    Returns a `FaceEncoder`, a `VoiceEncoder` or a `FaceDecoder`, as the entry's kind says; where a
    type checker should know it, use `load_face_encoder` and its sisters. A
    registry name is looked for among the converted bundles first; where there is none, the
    published weights are fetched, converted and proven. From the Hugging Face hub only the files
    needed are fetched, and their sha256 is checked. `preset` overrides the preprocessing of
    the bundle; `pretrained=False` gives random weights and needs no file. `device` is "cpu",
    "cuda" or "cuda:N", with the onnx backend also "tensorrt" or "tensorrt:N", where
    `provider_options` go to ONNX Runtime's provider of the device. `verify` compares the
    bundle's model.safetensors, and model.onnx where it is used, with their recorded sha256 first.
    What becomes of the files afterwards does not matter to the model. Raises `UsageError` for what
    is not valid, `BundleError` for files that are damaged, altered or of another network, and
    `Vox2FaceError`, naming the command to run, where weights cannot be had.
    """
    if backend not in BACKENDS:
        raise UsageError(f"There is no backend {backend!r}: use 'torch' or 'onnx'.")
    device = str(device)
    require_provider_options(backend, device, provider_options)
    if preset is not None:
        meaning(preset)  # before any weights are fetched
    if not pretrained:
        return untrained(registry.entry(str(name)), backend, device, preset)
    bundle = locate(name, onnx=backend == "onnx")
    require_sound(bundle, backend, verify)
    entry = bundle.entry
    chosen = preset or bundle.preset
    require_preset(entry, chosen)
    kind = KINDS[entry.kind]
    if backend == "onnx":
        session = started(bundle, device, provider_options)
        given = {"session": session, "provider_options": provider_options}
        return kind(entry, chosen, device, bundle=bundle, **given)
    module = on_device(registry.load_module(entry, bundle.weights), device)
    return kind(entry, chosen, device, module=module, bundle=bundle)


def require_provider_options(backend: str, device: str, options: Mapping[str, Any] | None) -> None:
    """Raise `UsageError` for options of ONNX Runtime's providers where nothing takes them."""
    if options and backend != "onnx":
        raise UsageError("Provider options are ONNX Runtime's: use them with backend='onnx'.")
    if options:
        run_onnx.providers_for(device, options)


def load_face_encoder(
    name: str | os.PathLike[str] = DEFAULT_FACE, **options: Unpack[LoadOptions]
) -> FaceEncoder:
    """Load a face encoder as `load` does; the default one comes with vox2face.

    Raises `UsageError`, before any weights are fetched, for a model of another kind.
    """
    return load_kind(FaceEncoder, name, **options)


def load_voice_encoder(
    name: str | os.PathLike[str] = DEFAULT_VOICE, **options: Unpack[LoadOptions]
) -> VoiceEncoder:
    """Load a voice encoder as `load` does; the default one is a demo trained on synthetic people.

    Raises `UsageError`, before any weights are fetched, for a model of another kind.
    """
    return load_kind(VoiceEncoder, name, **options)


def load_face_decoder(
    name: str | os.PathLike[str] = DEFAULT_DECODER, **options: Unpack[LoadOptions]
) -> FaceDecoder:
    """Load a face decoder as `load` does; the default one is a demo trained on synthetic people.

    Raises `UsageError`, before any weights are fetched, for a model of another kind.
    """
    return load_kind(FaceDecoder, name, **options)


def require_sound(bundle: Bundle, backend: str, verify: bool) -> None:
    """Raise `BundleError` if a bundle lacks its proof or, where that is asked, was altered.

    What the hub's cache holds was compared when it was located, and comes without the proof.
    """
    if bundle.borrowed:
        return
    read_parity(bundle.path)
    if verify:
        runs_onnx = backend == "onnx" and bundle.has_onnx
        bundle.require_unaltered({WEIGHTS, ONNX} if runs_onnx else {WEIGHTS})


def load_kind(
    kind: type[Model], name: str | os.PathLike[str], **options: Unpack[LoadOptions]
) -> Model:
    """Load a model as `load` does, or raise `UsageError` if it is of another kind."""
    found, wanted = kind_of(name), next(word for word, cls in KINDS.items() if cls is kind)
    if found != wanted:  # told before any weights are fetched
        raise UsageError(
            f"{name} is a {found}, expected a {wanted}: vox2face zoo list --kind {wanted} lists "
            "those."
        )
    model: Model = load(name, **options)
    return model


def untrained(entry: Entry, backend: str, device: str, preset: str | None) -> Loaded:
    """Return a model with random weights."""
    if backend != "torch":
        raise UsageError("pretrained=False builds a torch module: use backend='torch'.")
    chosen = preset or entry.preprocess
    require_preset(entry, chosen)
    module = on_device(registry.build(entry), device)
    return KINDS[entry.kind](entry, chosen, device, module=module)

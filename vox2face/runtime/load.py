"""Load models by name and run them, on PyTorch or ONNX Runtime, behind one call."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import torch
from torch import nn

from vox2face.converters.onnx import session as run_onnx
from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError
from vox2face.runtime.base import Loaded
from vox2face.runtime.face_decoder import FaceDecoder
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.resolve import kind_of, locate, onnx_of
from vox2face.runtime.voice_encoder import VoiceEncoder
from vox2face.store.bundle import ONNX, WEIGHTS, Bundle, read_parity
from vox2face.zoo import registry
from vox2face.zoo.presets import meaning, require_preset

Model = TypeVar("Model", bound=Loaded)
BACKENDS = ("torch", "onnx")
KINDS: dict[str, type[Loaded]] = {
    "face-encoder": FaceEncoder,
    "voice-encoder": VoiceEncoder,
    "face-decoder": FaceDecoder,
}


def load(
    name: str | os.PathLike[str],
    backend: str = "torch",
    device: str | torch.device = "cpu",
    preset: str | None = None,
    pretrained: bool = True,
    verify: bool = False,
) -> Any:
    """Load a model by registry name, alias, bundle folder or "hf:user/repo[@revision]".

    Returns a `FaceEncoder`, a `VoiceEncoder` or a `FaceDecoder`, as the entry's kind says. A
    registry name is looked for among the converted bundles first; where there is none, the
    published weights are fetched, converted and proven. From the Hugging Face hub only the files
    needed are fetched, and their sha256 is checked. `preset` overrides the preprocessing of
    the bundle; `pretrained=False` gives random weights and needs no file. `device` is "cpu",
    "cuda" or "cuda:N", with the onnx backend also "tensorrt" or "tensorrt:N". `verify` compares the
    bundle's model.safetensors, and model.onnx where it is used, with their recorded sha256 first.
    What becomes of the files afterwards does not matter to the model. Raises `UsageError` for what
    cannot be meant, `BundleError` for files that are damaged, altered or of another network, and
    `Vox2FaceError`, naming the command to run, where weights cannot be had.
    """
    if backend not in BACKENDS:
        raise UsageError(f"There is no backend {backend!r}: use 'torch' or 'onnx'.")
    device = str(device)
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
        path = onnx_of(bundle)
        session = run_onnx.session(path, device)
        run_onnx.require_interface(session, path, entry.input, entry.plain_outputs)
        return kind(entry, chosen, device, session=session, bundle=bundle)
    module = on_device(registry.load_module(entry, bundle.weights), device)
    return kind(entry, chosen, device, module=module, bundle=bundle)


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


def load_kind(kind: type[Model], name: str | os.PathLike[str], **options: Any) -> Model:
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


def on_device(module: nn.Module, device: str) -> nn.Module:
    """Move a module, or say why the device cannot be used."""
    kind = device.partition(":")[0]
    if kind == "tensorrt":
        raise UsageError(f"device={device!r} is for ONNX Runtime: use it with backend='onnx'.")
    if kind == "meta":
        raise UsageError("device='meta' holds no values: use 'cpu' or 'cuda'.")
    try:
        torch.device(device)
    except RuntimeError as error:
        raise UsageError(
            f"There is no device {device!r}: use 'cpu', 'cuda', or 'cuda:N' for GPU number N."
        ) from error
    try:
        return module.to(device)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0].rstrip(".")
        raise UsageError(
            f"device={device!r} cannot be used by this torch: {reason}. Use 'cpu' or another torch."
        ) from error

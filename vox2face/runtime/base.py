"""What all loaded models share: one network on PyTorch or ONNX Runtime, and the facts about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vox2face.converters.onnx import session as run_onnx
from vox2face.core.entry import Entry, Space
from vox2face.core.errors import UsageError
from vox2face.store.bundle import Bundle

Embeddings = NDArray[np.float32]
DEEPFACE_EPSILON = 1e-10  # added to the norm, as deepface modules/verification.py does


class Loaded:
    """A network of the zoo on one backend.

    With the torch backend `module` is the network; with onnx `session` is an ONNX Runtime session
    whose outputs hold the same values. `bundle` is where the weights came from, None where they
    are random.
    """

    def __init__(
        self,
        entry: Entry,
        preset: str,
        device: str,
        *,
        module: nn.Module | None = None,
        session: Any = None,
        bundle: Bundle | None = None,
        provider_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.entry, self.preset, self.device = entry, preset, device
        self.provider_options = provider_options
        self.backend = "torch" if session is None else "onnx"
        self._module, self.session, self.bundle = module, session, bundle
        self.prepare()

    def prepare(self) -> None:
        """Make what stands around the network, such as its front end."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.entry.name!r}, preset={self.preset!r}, "
            f"backend={self.backend!r}, device={self.device!r})"
        )

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, and return this model.

        On PyTorch the module moves, as by `torch.nn.Module.to`, and with it all models that share
        it (`FaceEncoder.with_preset`). On ONNX Runtime a new session starts there, without the
        provider's options if the kind of device changes. Raises `UsageError` for a device that
        cannot be used; the model then stays where it is.
        """
        place = str(device)
        same = place.partition(":")[0] == self.device.partition(":")[0]
        options = self.provider_options if same else None
        if self.session is None:
            self._module = on_device(self.module, place)
        else:
            self.session = started(self.bundle, place, options)
        self.device, self.provider_options = place, options
        self.prepare()
        return self

    @property
    def width(self) -> int:
        """The length of an embedding."""
        return self.entry.width

    @property
    def space(self) -> Space:
        """Whose embeddings this network gives or takes; see `vox2face.core.entry.Space`."""
        return self.bundle.space if self.bundle else self.entry.own_space

    @property
    def here(self) -> str:
        """Where inputs are prepared: with ONNX Runtime on the GPU torch may be without one."""
        return self.device if self.session is None else "cpu"

    @property
    def place(self) -> torch.device:
        """Where the module is: others that share it may have moved it."""
        tensors = chain(self.module.parameters(), self.module.buffers())
        return next((t.device for t in tensors), torch.device(self.device))

    @property
    def module(self) -> nn.Module:
        """The torch module; the onnx backend has none and raises `UsageError`."""
        if self._module is None:
            raise UsageError("The onnx backend has no torch module: load with backend='torch'.")
        return self._module

    def run(self, x: Tensor) -> tuple[NDArray[np.float32], ...]:
        """Return the network's outputs for a prepared input, in the order of the entry."""
        if self.session is not None:
            return tuple(run_onnx.run(self.session, x.numpy()))
        with torch.inference_mode():
            value: Any = self.module(x.to(self.place))
        values = value if isinstance(value, tuple) else (value,)
        return tuple(tensor.cpu().numpy() for tensor in values)


def started(bundle: Bundle | None, device: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return an ONNX Runtime session of a bundle's network, which is compared with its entry."""
    from vox2face.runtime.resolve import onnx_of

    if bundle is None:
        raise UsageError("The onnx backend needs a bundle: use load().")
    path, entry = onnx_of(bundle), bundle.entry
    session = run_onnx.session(path, device, options)
    run_onnx.require_interface(session, path, entry.input, entry.plain_outputs)
    return session


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


def listed(items: Any, *single: type) -> list[Any]:
    """Return items as a list; one, such as a path or an array, becomes a list of one."""
    return [items] if is_single(items, *single) else list(items)


def is_single(items: Any, *single: type) -> bool:
    """Whether this is one item, such as a path, an array or an open file, and not several."""
    one = isinstance(items, (str, bytes, os.PathLike, np.ndarray, *single))
    return one or hasattr(items, "read") or not isinstance(items, Iterable)


def normalized(embeddings: Embeddings) -> Embeddings:
    """Return x / (norm + 1e-10) for every row, computed in float64."""
    exact = embeddings.astype(np.float64)
    lengths = np.sqrt((exact * exact).sum(1, keepdims=True)) + DEEPFACE_EPSILON
    result: Embeddings = (exact / lengths).astype(np.float32)
    return result

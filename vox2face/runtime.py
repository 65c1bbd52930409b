"""Load models and run them, on PyTorch or ONNX Runtime, behind one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.bundle import Bundle
from vox2face.errors import ImageError, UsageError
from vox2face.image import Picture, decode
from vox2face.locate import exported, locate, onnx_of
from vox2face.spec import Entry
from vox2face.zoo import registry
from vox2face.zoo.presets import face_preset

if TYPE_CHECKING:
    import onnxruntime
    import torch
    from torch import Tensor, nn

    from vox2face.labels import Named

Embeddings = NDArray[np.float32]
BACKENDS = ("torch", "onnx")
DEEPFACE_EPSILON = 1e-10  # added to the norm, as deepface modules/verification.py does


def load(
    name: str | os.PathLike[str],
    backend: str = "torch",
    device: str | torch.device = "cpu",
    preset: str | None = None,
    pretrained: bool = True,
) -> FaceEncoder:
    """Load a face encoder by registry name, alias, bundle folder or "hf:user/repo[@revision]".

    A registry name is looked for among the converted bundles first; where there is none, the
    published weights are fetched, converted and proven. From the Hugging Face hub only the files
    needed are fetched, and their sha256 is checked. `preset` overrides the preprocessing of
    the bundle; `pretrained=False` gives random weights and needs no file. `device` is "cpu",
    "cuda" or "cuda:N". Raises `UsageError` for what cannot be meant, and `Vox2FaceError`, naming
    the command to run, where weights cannot be had.
    """
    if backend not in BACKENDS:
        raise UsageError(f"There is no backend {backend!r}: use 'torch' or 'onnx'.")
    device = str(device)
    if preset is not None:
        face_preset(preset)
    if not pretrained:
        return untrained(registry.entry(str(name)), backend, device, preset)
    bundle = locate(name, onnx=backend == "onnx")
    entry = registry.entry(bundle.entry_name)
    chosen = preset or bundle.preset
    if backend == "onnx":
        from vox2face.converters import run_onnx

        session = run_onnx.session(onnx_of(bundle), device)
        return FaceEncoder(entry, chosen, device, session=session, bundle=bundle)
    module = on_device(registry.load_module(entry, bundle.weights), device)
    return FaceEncoder(entry, chosen, device, module=module, bundle=bundle)


def untrained(entry: Entry, backend: str, device: str, preset: str | None) -> FaceEncoder:
    """Return an encoder with random weights."""
    if backend != "torch":
        raise UsageError("pretrained=False builds a torch module: use backend='torch'.")
    module = on_device(registry.build(entry), device)
    return FaceEncoder(entry, preset or entry.preprocess, device, module=module)


def on_device(module: nn.Module, device: str) -> nn.Module:
    """Move a module, or say why the device cannot be used."""
    if device.partition(":")[0] == "meta":
        raise UsageError("device='meta' holds no values: use 'cpu' or 'cuda'.")
    try:
        return module.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device={device!r} cannot be used by this torch: {reason}.") from error


class FaceEncoder:
    """A face encoder with its preprocessing: pictures in, float32 embeddings (n, width) out.

    `entry` holds the facts, `preset` the name of the preprocessing. On the torch backend
    `module(x)` takes what the preset produces, float32 (n, 3, size, size) in the colour order
    of the weights, and returns the embedding; `module.logits(x)` returns the class scores. On the
    onnx backend `session` is the ONNX Runtime session, whose output holds the same values.
    `bundle` is where the weights came from, None where they are random.
    """

    def __init__(
        self,
        entry: Entry,
        preset: str,
        device: str,
        *,
        module: nn.Module | None = None,
        session: onnxruntime.InferenceSession | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        from vox2face.zoo.frontends import FaceInput

        self.entry, self.preset, self.device = entry, preset, device
        self.backend = "torch" if session is None else "onnx"
        self._module, self.session, self.bundle = module, session, bundle
        self._logits_session: onnxruntime.InferenceSession | None = None
        # With ONNX Runtime on the GPU torch may be without one, so pictures are prepared here.
        where = device if session is None else "cpu"
        self.frontend = FaceInput(face_preset(preset), entry.size).to(where)

    def __repr__(self) -> str:
        return (
            f"FaceEncoder({self.entry.name!r}, preset={self.preset!r}, "
            f"backend={self.backend!r}, device={self.device!r})"
        )

    @property
    def width(self) -> int:
        """The length of an embedding."""
        return self.entry.width

    @property
    def classes(self) -> int:
        """The number of classes the network tells apart; 0 for weights without a classifier."""
        widths = {spec.name: int(spec.shape[-1]) for spec in self.entry.outputs}
        if self.bundle is not None and "logits" not in self.bundle.outputs:
            return 0
        return widths.get("logits", 0)

    @property
    def module(self) -> nn.Module:
        """The torch module; the onnx backend has none and raises `UsageError`."""
        if self._module is None:
            raise UsageError("The onnx backend has no torch module: load with backend='torch'.")
        return self._module

    def __call__(
        self,
        pictures: Picture | Sequence[Picture],
        normalize: bool = False,
        batch_size: int = 8,
    ) -> Embeddings:
        """Return the embeddings of cropped faces, float32 (n, width).

        `pictures` is one picture or several: paths, Pillow images or uint8 RGB arrays.
        `normalize=True` divides each embedding by its length + 1e-10, as deepface does. Raises
        `ImageError` for what is no picture.
        """
        embeddings = self.batched(self.embed, self.width, pictures, batch_size)
        return normalized(embeddings) if normalize else embeddings

    def logits(
        self, pictures: Picture | Sequence[Picture], batch_size: int = 8
    ) -> NDArray[np.float32]:
        """Return the class scores of cropped faces before softmax, float32 (n, classes).

        Raises `UsageError` for weights without a classifier, `ImageError` for what is no picture.
        """
        self.require_classes()
        return self.batched(self.score, self.classes, pictures, batch_size)

    def classify(
        self,
        pictures: Picture | Sequence[Picture],
        top: int = 5,
        labels: Sequence[str] | None = None,
        batch_size: int = 8,
    ) -> list[list[Named]]:
        """Return for each cropped face the `top` most probable names, as (name, probability).

        `labels` are the names of the classes; without them the model's published list is used,
        and fetched the first time. Raises as `logits` does, and `FetchError` without names.
        """
        from vox2face import labels as names

        self.require_classes()
        wanted = names.checked_top(top, self.classes)
        known = names.names_for(self.entry.labels, self.classes, labels)
        return names.decode_predictions(self.logits(pictures, batch_size), wanted, known)

    def require_classes(self) -> None:
        """Raise `UsageError` unless the network has a classifier."""
        if all(spec.name != "logits" for spec in self.entry.outputs):
            raise UsageError(f"{self.entry.name} tells no classes apart, so it has no scores.")
        if not self.classes:
            raise UsageError(
                f"These weights of {self.entry.name} have no classifier, so there are no class "
                "scores: convert a weight file that was saved with its top."
            )

    def batched(
        self,
        run: Callable[[Tensor], NDArray[np.float32]],
        width: int,
        pictures: Picture | Sequence[Picture],
        batch_size: int,
    ) -> NDArray[np.float32]:
        """Return what `run` makes of pictures, prepared `batch_size` at a time: (n, width)."""
        items = listed(pictures)
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: it must be at least 1.")
        parts = [
            run(self.preprocess(items[start : start + batch_size]))
            for start in range(0, len(items), batch_size)
        ]
        return np.concatenate(parts) if parts else np.empty((0, width), np.float32)

    def preprocess(self, pictures: Picture | Sequence[Picture]) -> Tensor:
        """Return what the network takes, float32 (n, 3, size, size), after the preset."""
        import torch

        with torch.no_grad():  # not inference_mode: one may train on the result
            return torch.cat([self.prepared(decode(p)) for p in listed(pictures)])

    def prepared(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """Return one decoded picture after the preset, (1, 3, size, size)."""
        import torch

        height, width = picture.shape[:2]
        if max(height, width) > self.frontend.size * min(height, width):
            raise ImageError(
                f"A picture of {width} x {height} pixels is too narrow to be a face: crop the face."
            )
        pixels = torch.from_numpy(np.array(picture, order="C")).to(self.frontend.mean.device)
        prepared: torch.Tensor = self.frontend(pixels.unsqueeze(0))
        return prepared

    def embed(self, x: Tensor) -> Embeddings:
        """Return the embeddings of preprocessed pictures, float32 (n, width)."""
        import torch

        if self.session is not None:
            from vox2face.converters import run_onnx

            return run_onnx.run(self.session, x.numpy())[0]
        with torch.inference_mode():
            embeddings: Embeddings = self.module(x).cpu().numpy()
        return embeddings

    def score(self, x: Tensor) -> NDArray[np.float32]:
        """Return the class scores of preprocessed pictures, float32 (n, classes)."""
        import torch

        if self.session is not None:
            from vox2face.converters import run_onnx

            return run_onnx.run(self.logits_session(), x.numpy())[-1]
        network: Any = self.module
        with torch.inference_mode():
            scores: NDArray[np.float32] = network.logits(x).cpu().numpy()
        return scores

    def logits_session(self) -> onnxruntime.InferenceSession:
        """Return the ONNX Runtime session with class scores, loaded when first needed."""
        from vox2face.converters import run_onnx

        if self._logits_session is None:
            if self.bundle is None:
                raise UsageError("Class scores on the onnx backend need a bundle: use load().")
            path = exported(self.bundle, logits=True)
            self._logits_session = run_onnx.session(path, self.device)
        return self._logits_session


def listed(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """Return pictures as a list; one picture becomes a list of one."""
    from PIL import Image

    given: Any = pictures
    if isinstance(given, np.ndarray):
        return list(given) if given.ndim == 4 else [given]
    single = isinstance(given, (str, bytes, os.PathLike, Image.Image))
    if single or not isinstance(given, Iterable):
        return [given]  # decode says what is wrong with it
    return list(given)


def normalized(embeddings: Embeddings) -> Embeddings:
    """Return x / (norm + 1e-10) for every row, computed in float64."""
    exact = embeddings.astype(np.float64)
    lengths = np.sqrt((exact * exact).sum(1, keepdims=True)) + DEEPFACE_EPSILON
    result: Embeddings = (exact / lengths).astype(np.float32)
    return result

"""Face encoders: pictures of faces to embeddings, class scores and names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vox2face.converters.onnx import session as run_onnx
from vox2face.core.entry import Space
from vox2face.core.errors import ImageError, UsageError
from vox2face.media.image import Picture
from vox2face.runtime import class_names as names
from vox2face.runtime.base import Embeddings, Loaded, is_single, normalized
from vox2face.runtime.face_input import PictureOptions, read_face
from vox2face.runtime.resolve import exported
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.presets import face_preset, require_preset


class FaceEncoder(Loaded):
    """A face encoder with its preprocessing: pictures in, float32 embeddings (n, width) out.

    `entry` holds the facts, `preset` the name of the preprocessing. On the torch backend
    `module(x)` takes what the preset produces, float32 (n, 3, size, size) in the colour order
    of the weights, and returns the embedding; `module.logits(x)` returns the class scores. On the
    onnx backend `session` is the ONNX Runtime session, whose output holds the same values.
    `bundle` is where the weights came from, None where they are random.
    """

    def prepare(self) -> None:
        """Make what stands around the network."""
        self._logits_session: Any = None
        self.frontend = FaceInput(face_preset(self.preset), self.entry.size).to(self.here)

    @property
    def space(self) -> Space:
        """The space of the embeddings that this encoder makes with its preset."""
        return replace(super().space, preset=self.preset)

    def with_preset(self, preset: str) -> FaceEncoder:
        """Return the same network with another preprocessing; the weights are shared."""
        if preset == self.preset:
            return self
        require_preset(self.entry, preset)
        other = copy(self)
        other.preset = preset
        other.prepare()
        return other

    @property
    def classes(self) -> int:
        """The number of classes the network tells apart; 0 for weights without a classifier."""
        widths = {spec.name: int(spec.shape[-1]) for spec in self.entry.outputs}
        if self.bundle is not None and "logits" not in self.bundle.outputs:
            return 0
        return widths.get("logits", 0)

    def __call__(
        self,
        pictures: Picture | Sequence[Picture],
        normalize: bool = False,
        batch_size: int = 8,
        **how: Unpack[PictureOptions],
    ) -> Embeddings:
        """Return the embeddings of cropped faces, float32 (n, width).

        `pictures` is one picture or several: paths, bytes, binary file objects, Pillow images or
        uint8 arrays. `channels="bgr"` is for arrays such as OpenCV's. With `crop=True` they are
        photographs, whose faces are found and cut out; `align`, `which` and `detector` go with
        that, see `vox2face.runtime.face_input.read_face`. `normalize=True` divides each embedding
        by its length + 1e-10, as deepface does. Raises `ImageError` for what is not a picture or
        shows no face.
        """
        embeddings = self.batched(self.embed, self.width, pictures, batch_size, **how)
        return normalized(embeddings) if normalize else embeddings

    def logits(
        self,
        pictures: Picture | Sequence[Picture],
        batch_size: int = 8,
        **how: Unpack[PictureOptions],
    ) -> NDArray[np.float32]:
        """Return the class scores of cropped faces before softmax, float32 (n, classes).

        Pictures and their options are as for the encoder itself. Raises `UsageError` for weights
        without a classifier, `ImageError` for what is not a picture.
        """
        self.require_classes()
        return self.batched(self.score, self.classes, pictures, batch_size, **how)

    def classify(
        self,
        pictures: Picture | Sequence[Picture],
        top: int = 5,
        labels: Sequence[str] | None = None,
        batch_size: int = 8,
        **how: Unpack[PictureOptions],
    ) -> list[list[names.Named]]:
        """Return for each cropped face the `top` most probable names, as (name, probability).

        `labels` are the names of the classes; without them the model's published list is used,
        and fetched the first time. Raises as `logits` does, and `FetchError` without names.
        """
        self.require_classes()
        wanted = names.checked_top(top, self.classes)
        known = names.names_for(self.entry.labels, self.classes, labels)
        return names.decode_predictions(self.logits(pictures, batch_size, **how), wanted, known)

    def require_classes(self) -> None:
        """Raise `UsageError` unless the network has a classifier."""
        if all(spec.name != "logits" for spec in self.entry.outputs):
            raise UsageError(
                f"{self.entry.name} tells no classes apart, so it has no scores: name a VGG-Face."
            )
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
        **how: Unpack[PictureOptions],
    ) -> NDArray[np.float32]:
        """Return what `run` makes of pictures, prepared `batch_size` at a time: (n, width)."""
        items = pictures_of(pictures)
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: it must be at least 1.")
        parts = [
            run(self.preprocess(items[start : start + batch_size], **how))
            for start in range(0, len(items), batch_size)
        ]
        return np.concatenate(parts) if parts else np.empty((0, width), np.float32)

    def preprocess(
        self, pictures: Picture | Sequence[Picture], **how: Unpack[PictureOptions]
    ) -> Tensor:
        """Return what the network takes, float32 (n, 3, size, size), after the preset."""
        with torch.no_grad():  # not inference_mode: one may train on the result
            return torch.cat([self.prepared(self.read(p, **how)) for p in pictures_of(pictures)])

    def read(self, picture: Picture, **how: Unpack[PictureOptions]) -> NDArray[np.uint8]:
        """Return a picture as `read_face` does, RGB uint8 (height, width, 3), for this preset."""
        return read_face(picture, reader=self.frontend.preset.reader, **how)

    def prepared(self, picture: NDArray[np.uint8]) -> Tensor:
        """Return one decoded picture after the preset, (1, 3, size, size)."""
        height, width = picture.shape[:2]
        if max(height, width) > self.frontend.size * min(height, width):
            raise ImageError(
                f"A picture of {width} x {height} pixels is too narrow to be a face: crop the face."
            )
        whole = np.require(picture, requirements=["C", "W"])  # a copy only where there must be one
        pixels = torch.from_numpy(whole).to(self.frontend.mean.device)
        prepared: Tensor = self.frontend(pixels.unsqueeze(0))
        return prepared

    def embed(self, x: Tensor) -> Embeddings:
        """Return the embeddings of preprocessed pictures, float32 (n, width)."""
        return self.run(x)[0]

    def score(self, x: Tensor) -> NDArray[np.float32]:
        """Return the class scores of preprocessed pictures, float32 (n, classes)."""
        if self.session is not None:
            return run_onnx.run(self.logits_session(), x.numpy())[-1]
        network: Any = self.module
        with torch.inference_mode():
            scores: NDArray[np.float32] = network.logits(x.to(self.place)).cpu().numpy()
        return scores

    def logits_session(self) -> Any:
        """Return the ONNX Runtime session with class scores, loaded when first needed."""
        if self._logits_session is None:
            if self.bundle is None:
                raise UsageError("Class scores on the onnx backend need a bundle: use load().")
            path = exported(self.bundle, logits=True)
            session = run_onnx.session(path, self.device, self.provider_options)
            run_onnx.require_interface(session, path, self.entry.input, self.entry.outputs)
            self._logits_session = session
        return self._logits_session


def pictures_of(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """Return pictures as a list; one picture becomes a list of one."""
    if one_picture(pictures):
        return [pictures]  # type: ignore[list-item]  # decode says what is wrong with it
    return list(pictures)  # type: ignore[arg-type]


def one_picture(pictures: Picture | Iterable[Picture]) -> bool:
    """Whether this is one picture; an array (n, height, width, 3) is several."""
    several = isinstance(pictures, np.ndarray) and pictures.ndim == 4
    return not several and is_single(pictures, Image.Image)

"""From a voice or a photograph to a face."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, Unpack, overload

import numpy as np

from vox2face.core.errors import UsageError
from vox2face.media.audio import Audio
from vox2face.media.decoded_face import Face
from vox2face.media.image import Picture
from vox2face.runtime.base import Embeddings, Loaded, is_single, listed
from vox2face.runtime.face_decoder import FaceDecoder
from vox2face.runtime.face_encoder import FaceEncoder, one_picture, pictures_of
from vox2face.runtime.face_input import PictureOptions
from vox2face.runtime.load import LoadOptions, load_kind
from vox2face.runtime.voice_encoder import VoiceEncoder
from vox2face.store.bundle import WEIGHTS
from vox2face.zoo.catalog import DEFAULT_DECODER, DEFAULT_FACE, DEFAULT_VOICE
from vox2face.zoo.registry import preset_for, require_pair

Model = str | os.PathLike[str]


class SpeechToFace:
    """Recordings to faces: a voice encoder and a face decoder of the same space of embeddings.

    Raises `UsageError` if their widths differ, or their spaces; the latter pass with `any_space`.
    """

    def __init__(self, voice: VoiceEncoder, decoder: FaceDecoder, any_space: bool = False) -> None:
        require_pair(voice.entry, voice.space, decoder.entry, decoder.space, any_space)
        self.voice, self.decoder = voice, decoder

    def __repr__(self) -> str:
        return described(self, self.voice, self.decoder)

    def to(self, device: Any) -> Self:
        """Move both networks to a device, and return this pipeline; see `Loaded.to`."""
        self.voice.to(device)
        self.decoder.to(device)
        return self

    @classmethod
    def from_zoo(
        cls,
        voice: Model = DEFAULT_VOICE,
        decoder: Model = DEFAULT_DECODER,
        backend: str = "torch",
        device: Any = "cpu",
        any_space: bool = False,
        verify: bool = False,
        provider_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load both by registry name, bundle folder or "hf:user/repo".

        Those that come with vox2face are the default: demo models trained on synthetic people,
        which tell nothing about real persons. `verify` and `provider_options` are those of
        `vox2face.load`. Raises as that does, and `UsageError` if the two do not fit.
        """
        options = LoadOptions(
            backend=backend, device=device, verify=verify, provider_options=provider_options
        )
        encoder = load_kind(VoiceEncoder, voice, **options)
        return cls(encoder, load_kind(FaceDecoder, decoder, **options), any_space)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is a sequence too
        self, recordings: Audio, rate: int | None = None
    ) -> Face: ...
    @overload
    def __call__(self, recordings: Sequence[Audio], rate: int | None = None) -> list[Face]: ...
    def __call__(
        self, recordings: Audio | Sequence[Audio], rate: int | None = None
    ) -> Face | list[Face]:
        """Return one face for one recording, or a list for a list.

        Recordings are paths, open files, or arrays of samples with their `rate` in Hz. Raises
        `AudioError` for what is no speech.
        """
        alone, items = is_single(recordings), listed(recordings)
        faces = decoded(self.voice, self.decoder, self.voice(items, rate))
        return faces[0] if alone else faces

    def fuse(self, recordings: Sequence[Audio], rate: int | None = None) -> Face:
        """Return one face for several recordings of one speaker; see `fused`."""
        items = listed(recordings)
        if not items:
            raise UsageError("There is no recording to fuse: name at least one.")
        return decoded(self.voice, self.decoder, fused(self.voice(items, rate)))[0]


class FaceToFace:
    """Pictures of faces to decoded faces: what a decoder can do at best.

    The face encoder preprocesses as the decoder's embeddings were made, whatever preset it was
    loaded with. `crop` says that pictures are photographs, whose face is found and cut out, unless
    a call says otherwise. Raises `UsageError` if the widths of the two differ, or their spaces.
    With `any_space` the latter pass, and the encoder stays as it is.
    """

    def __init__(
        self, face: FaceEncoder, decoder: FaceDecoder, any_space: bool = False, crop: bool = False
    ) -> None:
        if not any_space:
            face = face.with_preset(preset_for(face.space, decoder.space))
        require_pair(face.entry, face.space, decoder.entry, decoder.space, any_space)
        self.face, self.decoder, self.crop = face, decoder, crop

    def __repr__(self) -> str:
        return described(self, self.face, self.decoder)

    def to(self, device: Any) -> Self:
        """Move both networks to a device, and return this pipeline; see `Loaded.to`."""
        self.face.to(device)
        self.decoder.to(device)
        return self

    @classmethod
    def from_zoo(
        cls,
        face: Model | None = None,
        decoder: Model = DEFAULT_DECODER,
        backend: str = "torch",
        device: Any = "cpu",
        any_space: bool = False,
        verify: bool = False,
        provider_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load both by registry name, bundle folder or "hf:user/repo".

        Those that come with vox2face are the default; the decoder is a demo model, trained on
        synthetic people and on faces as `face_detection.crop` cuts them. Where no `face` is named,
        pictures are photographs, whose face is found and cut out; a call with `crop=False` takes
        them as they are. The face encoder gets the decoder's preset; one of another space, which
        `any_space` lets pass, keeps its own. `verify` and `provider_options` are those of
        `vox2face.load`. Raises as that does, and `UsageError` if the two do not fit.
        """
        options = LoadOptions(
            backend=backend, device=device, verify=verify, provider_options=provider_options
        )
        encoder = load_kind(FaceEncoder, face or DEFAULT_FACE, **options)
        drawing = load_kind(FaceDecoder, decoder, **options)
        fitting = encoder.with_preset(preset_for(encoder.space, drawing.space))
        return cls(fitting, drawing, any_space, crop=face is None)

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, pictures: Picture, **how: Unpack[PictureOptions]
    ) -> Face: ...
    @overload
    def __call__(
        self, pictures: Sequence[Picture], **how: Unpack[PictureOptions]
    ) -> list[Face]: ...
    def __call__(
        self, pictures: Picture | Sequence[Picture], **how: Unpack[PictureOptions]
    ) -> Face | list[Face]:
        """Return one face for one picture, or a list for a list.

        Pictures are those of cropped faces, or with `crop=True` photographs; they and the other
        options are as `FaceEncoder` takes them. Raises `ImageError` for what is not a picture, and
        for a photograph without a face or with several.
        """
        alone, items = one_picture(pictures), pictures_of(pictures)
        how = {"crop": self.crop, **how}
        faces = decoded(self.face, self.decoder, self.face(items, **how))
        return faces[0] if alone else faces

    def fuse(self, pictures: Sequence[Picture], **how: Unpack[PictureOptions]) -> Face:
        """Return one face for several pictures of one person; see `fused`."""
        items = pictures_of(pictures)
        if not items:
            raise UsageError("There is no picture to fuse: name at least one.")
        how = {"crop": self.crop, **how}
        return decoded(self.face, self.decoder, fused(self.face(items, **how)))[0]


def decoded(encoder: Loaded, decoder: FaceDecoder, embeddings: Embeddings) -> list[Face]:
    """Return the faces of embeddings, which then tell what made them."""
    facts = {"encoder": identity(encoder), "decoder": identity(decoder)}
    return [replace(face, made_by=facts) for face in decoder(embeddings)]


def described(pipeline: object, encoder: Loaded, decoder: FaceDecoder) -> str:
    """Return a pipeline in one line: its models, and where they run."""
    names = f"{encoder.entry.name!r}, {decoder.entry.name!r}"
    where = f"backend={decoder.backend!r}, device={decoder.device!r}"
    return f"{type(pipeline).__name__}({names}, {where})"


def identity(model: Loaded) -> str:
    """Return a model's name, the first digits of its weights' sha256, and what it ends in."""
    if model.bundle is None:
        return f"{model.entry.name} (random weights)"
    digest: str = model.bundle.config["files"][WEIGHTS]["sha256"]
    return " ".join([model.entry.name, digest[:16], *model.entry.variant.values()])


def fused(embeddings: Embeddings) -> Embeddings:
    """Return the mean of unit embeddings, (1, width), at the mean length of those given.

    Decoders are trained on embeddings that are not normalised, so that their length matters; one
    embedding stays what it is.
    """
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    mean = (embeddings / np.maximum(lengths, 1e-10)).mean(0, keepdims=True)
    result: Embeddings = (mean * lengths.mean()).astype(np.float32)
    return result

"""The inputs of an evaluation: people, the clips' embeddings, and the systems that find faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.evaluate import protocol
from vox2face.train.evaluate.embeddings import Voices
from vox2face.train.evaluate.options import (
    Columns,
    Options,
    check_options,
    group_columns,
    require_train_people,
    require_width,
)
from vox2face.train.evaluate.protocol import Protocol
from vox2face.train.evaluate.test_set import Arrays, Corpus, Rows, read_corpus
from vox2face.train.metrics import retrieval
from vox2face.train.metrics.ridge import ridge
from vox2face.train.metrics.similarity import Array, Indices, unit
from vox2face.zoo import registry

if TYPE_CHECKING:
    from vox2face.runtime.base import Loaded
    from vox2face.runtime.face_decoder import FaceDecoder
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.runtime.voice_encoder import VoiceEncoder
    from vox2face.train.corpus.manifest import Manifest


@dataclass(frozen=True, eq=False)
class System:
    """A system that finds faces: its queries (n, width) and their people (n,)."""

    name: str
    queries: Array
    owners: Indices


@dataclass(frozen=True, eq=False)
class EvalInputs:
    """The inputs: the people of the split and of the train split, and their clips' embeddings.

    `embeddings` (clips, width) are those of the voice encoder and of the baseline's, by "voice" and
    "baseline"; `train_embeddings` those of the train split's clips by the baseline's. `columns` are
    those of the tables of groups, by identity.
    """

    corpus: Corpus
    where: Protocol
    embeddings: Mapping[str, Array]
    encoders: Mapping[str, VoiceEncoder]
    train: Corpus | None
    train_embeddings: Array | None
    columns: Columns = field(default_factory=dict)
    decoder_and_judges: DecoderAndJudges | None = None

    @property
    def networks(self) -> dict[str, Loaded]:
        """All networks that were run, by their role."""
        networks: dict[str, Loaded] = dict(self.encoders)
        if self.decoder_and_judges is not None:
            networks["decoder"] = self.decoder_and_judges.decoder
            networks.update(
                {f"face {name}": judge for name, judge in self.decoder_and_judges.judges.items()}
            )
            if self.decoder_and_judges.classifier is not None:
                networks["classifier"] = self.decoder_and_judges.classifier
        return networks

    @property
    def train_gallery(self) -> Array:
        """The mean embedding of the faces of each person of the train split."""
        train = self.train_split
        return retrieval.by_identity(train.faces.astype(np.float64), train.sitters)[0]

    @property
    def train_split(self) -> Corpus:
        """The train split. Raises `CorpusError` if it was not read."""
        if self.train is None:
            raise CorpusError("The train split was not read: nothing can be fitted.")
        return self.train


@dataclass(frozen=True, eq=False)
class DecoderAndJudges:
    """A face decoder, the face encoders that judge it by name, and one with classes."""

    decoder: FaceDecoder
    judges: Mapping[str, FaceEncoder]
    classifier: FaceEncoder | None


def decoder_and_judges(arrays: Arrays, options: Options, width: int) -> DecoderAndJudges | None:
    """Load the decoder and its judges, if one is named. Raises `UsageError` if widths differ."""
    from vox2face.runtime.load import load_face_decoder, load_face_encoder

    if options.decoder is None:
        return None
    decoder = load_face_decoder(options.decoder, **options.load_options)
    if decoder.width != width:
        raise UsageError(
            f"{options.decoder} takes {decoder.width} values and {options.face} gives {width}: "
            "choose a decoder that was trained for it."
        )
    names = dict.fromkeys(name for name in (options.second_face, options.face) if name)
    judges = {name: arrays.encoder(name, options.device) for name in names}
    classifier = None
    if options.classifier is not None:
        classifier = load_face_encoder(options.classifier, **options.load_options)
        classifier.require_classes()
    return DecoderAndJudges(decoder, judges, classifier)


def _voice_encoders(options: Options) -> dict[str, VoiceEncoder]:
    """Load the voice encoders that are named, by "voice" and "baseline"."""
    from vox2face.runtime.load import load_voice_encoder

    names = {"voice": options.voice, "baseline": options.baseline}
    where = options.load_options
    return {role: load_voice_encoder(name, **where) for role, name in names.items() if name}


def _face_rows(arrays: Arrays, options: Options) -> Rows:
    """Return the face embeddings, (rows of the manifest, width).

    With `second_face` a picture must be usable for both networks, else its row is NaN.
    """
    faces = arrays.faces(options.face)
    if options.second_face is None:
        return faces
    usable = np.isfinite(arrays.faces(options.second_face)).all(1, keepdims=True)
    return np.where(usable, faces, np.nan).astype(np.float32)


def gather(manifest: Manifest, arrays: Arrays, options: Options, voices: Voices) -> EvalInputs:
    """Read people and faces, check all options, and then embed the clips."""
    columns, encoders = group_columns(options.groups), _voice_encoders(options)
    faces, landmarks = _face_rows(arrays, options), arrays.landmarks()
    require_width(encoders.get("voice"), faces.shape[1], options)
    decoder = decoder_and_judges(arrays, options, faces.shape[1])
    if not options.any_space:
        _require_one_space(arrays, options, encoders.get("voice"), decoder)
    corpus = read_corpus(manifest, options.split, faces, landmarks, options.uses_clips)
    train: Corpus | None = None
    train_embeddings: Array | None = None
    if options.baseline or options.latents:
        train = read_corpus(manifest, "train", faces, landmarks, bool(options.baseline))
    where = check_options(corpus, train, options, columns, embedded=False)
    tables, readable = voices.embed_clips(list(encoders.values()), corpus)
    if readable is not corpus:
        where = check_options(readable, train, options, columns, embedded=True)
    if options.baseline and train is not None:
        (table,), train = voices.embed_clips([encoders["baseline"]], train)
        require_train_people(train)
        train_embeddings = table.astype(np.float64)
    values = {role: np.asarray(t, np.float64) for role, t in zip(encoders, tables, strict=True)}
    return EvalInputs(readable, where, values, encoders, train, train_embeddings, columns, decoder)


def _require_one_space(
    arrays: Arrays, options: Options, voice: VoiceEncoder | None, decoder: DecoderAndJudges | None
) -> None:
    """Raise `UsageError` unless voice encoder and decoder use the prepared faces' space."""
    space, name = arrays.space(options.face), f"the prepared {options.face}"
    if voice is not None:
        registry.require_same_space(str(options.voice), voice.space, name, space)
    if decoder is not None:
        decoder_space = decoder.decoder.space
        registry.require_same_space(name, space, str(options.decoder), decoder_space)


def systems_of(inputs: EvalInputs, options: Options) -> Iterator[System]:
    """Yield the systems: the voice encoder, and the ridge regression on the baseline."""
    if "voice" in inputs.embeddings:
        name = inputs.encoders["voice"].entry.name
        yield _system(name, inputs.embeddings["voice"], inputs, options)
    if "baseline" in inputs.embeddings and inputs.train_embeddings is not None:
        name = f"ridge on {inputs.encoders['baseline'].entry.name}"
        train = inputs.train_split
        target = inputs.train_gallery[train.speakers]
        fitted = ridge(unit(inputs.train_embeddings), target, train.speakers, options.seed)
        predicted = fitted.predict(unit(inputs.embeddings["baseline"]))
        yield _system(name, predicted, inputs, options)


def _system(name: str, values: Array, inputs: EvalInputs, options: Options) -> System:
    """Return a system of clips' embeddings, or with `--fuse` of one for each speaker."""
    owners = inputs.corpus.speakers
    return System(name, *(retrieval.fuse(values, owners) if options.fuse else (values, owners)))


def one_each(system: System, people: Indices) -> tuple[Array, Indices]:
    """Return the first query (n, width) of each of some people, and the people (n,)."""
    first = np.flatnonzero(protocol.occurrence(system.owners) == 0)
    first = first[np.isin(system.owners[first], people)]
    return system.queries[first], system.owners[first]

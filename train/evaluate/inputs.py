"""What is evaluated: people, the voices' embeddings, and the ways of finding faces."""

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
    require_taught,
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
    """One way of finding faces: its queries (n, width), and whose they are."""

    name: str
    queries: Array
    owners: Indices


@dataclass(frozen=True, eq=False)
class EvalInputs:
    """What is evaluated: the people of the split and of the train split, and their voices.

    `heard` holds the clips' embeddings of the voice encoder and of the baseline's, by "voice" and
    "baseline"; `train_heard` those of the train split's clips by the baseline's. `columns` are
    those of the tables of groups, by identity.
    """

    corpus: Corpus
    where: Protocol
    heard: Mapping[str, Array]
    encoders: Mapping[str, VoiceEncoder]
    train: Corpus | None
    train_heard: Array | None
    columns: Columns = field(default_factory=dict)
    decoder_and_judges: DecoderAndJudges | None = None

    @property
    def networks(self) -> dict[str, Loaded]:
        """All networks that were run, by what for."""
        found: dict[str, Loaded] = dict(self.encoders)
        if self.decoder_and_judges is not None:
            found["decoder"] = self.decoder_and_judges.decoder
            found.update(
                {f"face {name}": judge for name, judge in self.decoder_and_judges.judges.items()}
            )
            if self.decoder_and_judges.classifier is not None:
                found["classifier"] = self.decoder_and_judges.classifier
        return found

    @property
    def train_gallery(self) -> Array:
        """The mean embedding of the faces of each person of the train split."""
        train = self.teaching
        return retrieval.by_identity(train.faces.astype(np.float64), train.sitters)[0]

    @property
    def teaching(self) -> Corpus:
        """The train split. Raises `CorpusError` if it was not read."""
        if self.train is None:
            raise CorpusError("The train split was not read: nothing can be fitted.")
        return self.train


@dataclass(frozen=True, eq=False)
class DecoderAndJudges:
    """What draws faces and judges them: a decoder, face encoders by name, one with classes."""

    decoder: FaceDecoder
    judges: Mapping[str, FaceEncoder]
    classifier: FaceEncoder | None


def decoder_and_judges(arrays: Arrays, options: Options, width: int) -> DecoderAndJudges | None:
    """Return what draws and judges faces, if a decoder is named. Raises `UsageError`."""
    from vox2face.runtime.load import load_face_decoder, load_face_encoder

    if options.decoder is None:
        return None
    decoder = load_face_decoder(options.decoder, **options.where)
    if decoder.width != width:
        raise UsageError(
            f"{options.decoder} takes {decoder.width} values and {options.face} gives {width}: "
            "choose a decoder that was trained for it."
        )
    names = dict.fromkeys(name for name in (options.second_face, options.face) if name)
    judges = {name: arrays.encoder(name, options.device) for name in names}
    classifier = None
    if options.classifier is not None:
        classifier = load_face_encoder(options.classifier, **options.where)
        classifier.require_classes()
    return DecoderAndJudges(decoder, judges, classifier)


def _voice_encoders(options: Options) -> dict[str, VoiceEncoder]:
    """Return the voice encoders that are named, by "voice" and "baseline"."""
    from vox2face.runtime.load import load_voice_encoder

    wanted = {"voice": options.voice, "baseline": options.baseline}
    where = options.where
    return {role: load_voice_encoder(name, **where) for role, name in wanted.items() if name}


def _face_rows(arrays: Arrays, options: Options) -> Rows:
    """Return the face embeddings, (rows of the manifest, width).

    A picture counts for both networks or for none.
    """
    faces = arrays.faces(options.face)
    if options.second_face is None:
        return faces
    whole = np.isfinite(arrays.faces(options.second_face)).all(1, keepdims=True)
    return np.where(whole, faces, np.nan).astype(np.float32)


def gather(manifest: Manifest, arrays: Arrays, options: Options, voices: Voices) -> EvalInputs:
    """Read people and faces, check all options, and then embed what voices are needed."""
    columns, encoders = group_columns(options.groups), _voice_encoders(options)
    faces, marks = _face_rows(arrays, options), arrays.landmarks()
    require_width(encoders.get("voice"), faces.shape[1], options)
    drawing = decoder_and_judges(arrays, options, faces.shape[1])
    if not options.any_space:
        _require_one_space(arrays, options, encoders.get("voice"), drawing)
    corpus = read_corpus(manifest, options.split, faces, marks, options.voiced)
    train: Corpus | None = None
    train_heard: Array | None = None
    if options.baseline or options.latents:
        train = read_corpus(manifest, "train", faces, marks, bool(options.baseline))
    where = check_options(corpus, train, options, columns, heard=False)
    tables, heard = voices.embed_clips(list(encoders.values()), corpus)
    if heard is not corpus:
        where = check_options(heard, train, options, columns, heard=True)
    if options.baseline and train is not None:
        (table,), train = voices.embed_clips([encoders["baseline"]], train)
        require_taught(train)
        train_heard = table.astype(np.float64)
    values = {role: np.asarray(t, np.float64) for role, t in zip(encoders, tables, strict=True)}
    return EvalInputs(heard, where, values, encoders, train, train_heard, columns, drawing)


def _require_one_space(
    arrays: Arrays, options: Options, voice: VoiceEncoder | None, drawing: DecoderAndJudges | None
) -> None:
    """Raise `UsageError` unless voices and decoder are about the prepared faces' embeddings."""
    space, name = arrays.space(options.face), f"the prepared {options.face}"
    if voice is not None:
        registry.require_same_space(str(options.voice), voice.space, name, space)
    if drawing is not None:
        taken = drawing.decoder.space
        registry.require_same_space(name, space, str(options.decoder), taken)


def systems_of(inputs: EvalInputs, options: Options) -> Iterator[System]:
    """Yield the ways of finding faces: the voice encoder, and the ridge regression."""
    if "voice" in inputs.heard:
        name = inputs.encoders["voice"].entry.name
        yield made(name, inputs.heard["voice"], inputs, options)
    if "baseline" in inputs.heard and inputs.train_heard is not None:
        name = f"ridge on {inputs.encoders['baseline'].entry.name}"
        train = inputs.teaching
        target = inputs.train_gallery[train.speakers]
        fitted = ridge(unit(inputs.train_heard), target, train.speakers, options.seed)
        guessed = fitted.predict(unit(inputs.heard["baseline"]))
        yield made(name, guessed, inputs, options)


def made(name: str, values: Array, inputs: EvalInputs, options: Options) -> System:
    """Return a system of clips' embeddings, or of one for each speaker with `--fuse`."""
    owners = inputs.corpus.speakers
    return System(name, *(retrieval.fuse(values, owners) if options.fuse else (values, owners)))


def one_each(system: System, people: Indices) -> tuple[Array, Indices]:
    """Return the first query of each of some people, and whose they are."""
    first = np.flatnonzero(protocol.occurrence(system.owners) == 0)
    first = first[np.isin(system.owners[first], people)]
    return system.queries[first], system.owners[first]

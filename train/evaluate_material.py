"""What is evaluated: options, people, the voices' embeddings, and the ways of finding faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vox2face.errors import CorpusError, UsageError
from vox2face.train import evaluate, oracles, retrieval
from vox2face.train.evaluate import Setting
from vox2face.train.evaluate_corpus import Arrays, Corpus, Voices, read_corpus
from vox2face.train.metrics import Array, Indices, unit
from vox2face.train.ridge import ridge

if TYPE_CHECKING:
    from vox2face.face_decoder import FaceDecoder
    from vox2face.face_encoder import FaceEncoder
    from vox2face.train.manifest import Manifest
    from vox2face.voice_encoder import VoiceEncoder


@dataclass(frozen=True)
class Options:
    """What to evaluate: names of networks, and how; see `vox2face evaluate --help`."""

    voice: str | None = None
    baseline: str | None = None
    face: str = ""
    second_face: str | None = None
    decoder: str | None = None
    classifier: str | None = None
    face_to_face: bool = False
    split: str = "test"
    latents: str | None = None
    groups: tuple[str, ...] = ()
    pool: int | None = 100
    pools: int | None = None
    distance: str = "cosine"
    fuse: bool = False
    seed: int = 0
    max_failures: float = 0.05
    backend: str = "torch"
    device: str = "cpu"

    def checked(self) -> Options:
        """Return the options. Raises `UsageError` for those that do not go together."""
        if not (self.voice or self.baseline or self.face_to_face):
            raise UsageError(
                "There is nothing to evaluate: give --voice, --baseline or --face-to-face."
            )
        if self.decoder is None and (self.face_to_face or self.second_face or self.classifier):
            raise UsageError(
                "--face-to-face, --second-face and --classifier measure decoded pictures: name a "
                "--decoder."
            )
        return self


@dataclass(frozen=True, eq=False)
class System:
    """One way of finding faces: its queries (n, width), and whose they are."""

    name: str
    queries: Array
    owners: Indices


@dataclass(frozen=True, eq=False)
class Material:
    """What is evaluated: the people of the split and of the train split, and their voices.

    `heard` holds the clips' embeddings of the voice encoder and of the baseline's, by "voice" and
    "baseline"; `train_heard` those of the train split's clips by the baseline's. `columns` are
    those of the tables of groups, by identity.
    """

    corpus: Corpus
    where: Setting
    heard: Mapping[str, Array]
    encoders: Mapping[str, VoiceEncoder]
    train: Corpus | None
    train_heard: Array | None
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    painters: Painters | None = None

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
class Painters:
    """What draws faces and judges them: a decoder, face encoders by name, one with classes."""

    decoder: FaceDecoder
    judges: Mapping[str, FaceEncoder]
    classifier: FaceEncoder | None


def painters(arrays: Arrays, options: Options, width: int) -> Painters | None:
    """Return what draws and judges faces, if a decoder is named. Raises `UsageError`."""
    from vox2face.face_decoder import FaceDecoder
    from vox2face.face_encoder import FaceEncoder
    from vox2face.runtime import load_kind

    if options.decoder is None:
        return None
    device = {"backend": options.backend, "device": options.device}
    decoder = load_kind(FaceDecoder, options.decoder, **device)
    if decoder.width != width:
        raise UsageError(
            f"{options.decoder} takes {decoder.width} values and {options.face} gives {width}: "
            "choose a decoder that was trained for it."
        )
    names = dict.fromkeys(name for name in (options.second_face, options.face) if name)
    judges = {name: arrays.encoder(name, options.device) for name in names}
    classifier = None
    if options.classifier is not None:
        classifier = load_kind(FaceEncoder, options.classifier, **device)
        classifier.require_classes()
    return Painters(decoder, judges, classifier)


def group_columns(given: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the columns of --groups, each as values by identity.

    Raises `UsageError` for what is no FILE:COLUMN or given twice, `CorpusError` for other files.
    """
    columns: dict[str, dict[str, str]] = {}
    for option in given:
        file, _, column = option.rpartition(":")
        if not file or not column:
            raise UsageError(
                f"--groups {option} names no column: write --groups FILE.csv:COLUMN, such as "
                "people.csv:ancestry."
            )
        rows = oracles.read_table(file)
        if column not in rows[0]:
            raise UsageError(
                f"--groups {option}: {file} has no column {column!r}, but {', '.join(rows[0])}."
            )
        if column in columns:
            raise UsageError(f"--groups {option}: a column {column!r} is given already.")
        columns[column] = {row["identity"]: row[column] for row in rows}
    return columns


def require_possible(corpus: Corpus, train: Corpus | None, options: Options) -> None:
    """Raise what pools and oracles of these people would raise, before any clip is heard."""
    retrieval.cut_pools(len(corpus), options.pool, options.pools)
    if options.latents:
        for people in filter(None, (corpus, train)):
            oracles.read_latents(options.latents, people.names)


def gather(manifest: Manifest, arrays: Arrays, options: Options, voices: Voices) -> Material:
    """Read people and faces, check all options, and then embed what voices are needed."""
    from vox2face.runtime import load_kind
    from vox2face.voice_encoder import VoiceEncoder

    device = {"backend": options.backend, "device": options.device}
    columns = group_columns(options.groups)
    wanted = {"voice": options.voice, "baseline": options.baseline}
    encoders = {
        role: load_kind(VoiceEncoder, name, **device) for role, name in wanted.items() if name
    }
    faces, marks = arrays.faces(options.face), arrays.landmarks()
    require_width(encoders.get("voice"), faces.shape[1], options)
    if options.second_face:  # a picture counts for both networks or for none
        whole = np.isfinite(arrays.faces(options.second_face)).all(1, keepdims=True)
        faces = np.where(whole, faces, np.nan).astype(np.float32)
    artists = painters(arrays, options, faces.shape[1])
    corpus = read_corpus(manifest, options.split, faces, marks, bool(encoders))
    train: Corpus | None = None
    train_heard: Array | None = None
    if options.baseline or options.latents:
        train = read_corpus(manifest, "train", faces, marks, bool(options.baseline))
    require_possible(corpus, train, options)
    tables, corpus = voices.listen(list(encoders.values()), corpus)
    if options.baseline and train is not None:
        (table,), train = voices.listen([encoders["baseline"]], train)
        train_heard = table.astype(np.float64)
    where = evaluate.setting(
        corpus.names,
        corpus.genders,
        corpus.faces,
        corpus.sitters,
        options.pool,
        options.pools,
        options.distance,
        options.seed,
    )
    heard = {role: np.asarray(t, np.float64) for role, t in zip(encoders, tables, strict=True)}
    return Material(corpus, where, heard, encoders, train, train_heard, columns, artists)


def require_width(voice: VoiceEncoder | None, width: int, options: Options) -> None:
    """Raise `UsageError` unless a voice encoder's embeddings are as wide as the faces'."""
    if voice is not None and voice.width != width:
        raise UsageError(
            f"{options.voice} gives {voice.width} values and {options.face} {width}: choose the "
            "--face it was trained for, or, to see what a regression makes of it, name it with "
            "--baseline."
        )


def systems_of(material: Material, options: Options) -> Iterator[System]:
    """Yield the ways of finding faces: the voice encoder, and the ridge regression."""
    if "voice" in material.heard:
        name = material.encoders["voice"].entry.name
        yield made(name, material.heard["voice"], material, options)
    if "baseline" in material.heard and material.train_heard is not None:
        name = f"ridge on {material.encoders['baseline'].entry.name}"
        train = material.teaching
        target = material.train_gallery[train.speakers]
        fitted = ridge(unit(material.train_heard), target, train.speakers, options.seed)
        guessed = fitted.predict(unit(material.heard["baseline"]))
        yield made(name, guessed, material, options)


def made(name: str, values: Array, material: Material, options: Options) -> System:
    """Return a system of clips' embeddings, or of one for each speaker with `--fuse`."""
    owners = material.corpus.speakers
    return System(name, *(retrieval.fuse(values, owners) if options.fuse else (values, owners)))


def one_each(system: System, people: Indices) -> tuple[Array, Indices]:
    """Return the first query of each of some people, and whose they are."""
    first = np.flatnonzero(evaluate.occurrence(system.owners) == 0)
    first = first[np.isin(system.owners[first], people)]
    return system.queries[first], system.owners[first]

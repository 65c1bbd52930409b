"""The options of an evaluation, and the checks that are made before any clip is embedded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.evaluate import decoded_faces, oracles, protocol
from vox2face.train.evaluate.protocol import Protocol
from vox2face.train.evaluate.test_set import Corpus
from vox2face.train.metrics import retrieval

if TYPE_CHECKING:
    from vox2face.runtime.load import LoadOptions
    from vox2face.runtime.voice_encoder import VoiceEncoder

Columns = Mapping[str, Mapping[str, str]]  # of --groups, each as values by identity


@dataclass(frozen=True)
class Options:
    """The options of an evaluation: networks and settings; see `vox2face evaluate --help`."""

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
    any_space: bool = False
    backend: str = "torch"
    device: str = "cpu"
    provider_options: Mapping[str, Any] | None = None

    @property
    def uses_clips(self) -> bool:
        """Whether clips are embedded at all."""
        return bool(self.voice or self.baseline)

    @property
    def load_options(self) -> LoadOptions:
        """The backend and device with which networks are loaded."""
        from vox2face.runtime.load import LoadOptions

        return LoadOptions(
            backend=self.backend, device=self.device, provider_options=self.provider_options
        )

    def stated(self) -> dict[str, Any]:
        """Return the options that have a value, as they are in results.json."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    def checked(self) -> Options:
        """Return the options. Raises `UsageError` for those that do not go together."""
        if not (self.uses_clips or self.face_to_face):
            raise UsageError(
                "There is nothing to evaluate: give --voice, --baseline or --face-to-face."
            )
        if self.decoder is None and (self.face_to_face or self.second_face or self.classifier):
            raise UsageError(
                "--face-to-face, --second-face and --classifier measure decoded pictures: name a "
                "--decoder."
            )
        if not self.uses_clips and (self.fuse or self.groups):
            raise UsageError(
                "--fuse and --groups are about voices, and none is given: name a --voice or a "
                "--baseline, or leave them out."
            )
        from vox2face.runtime.load import require_provider_options

        require_provider_options(self.backend, self.device, self.provider_options)
        retrieval.require_distance(self.distance)
        if not 0 <= self.max_failures <= 1:  # which NaN is not either
            raise UsageError(
                f"--max-failures {self.max_failures}: give a part of the clips, from 0 to 1."
            )
        return self


def require_width(voice: VoiceEncoder | None, width: int, options: Options) -> None:
    """Raise `UsageError` unless a voice encoder's embeddings are as wide as the faces'."""
    if voice is not None and voice.width != width:
        raise UsageError(
            f"{options.voice} gives {voice.width} values and {options.face} {width}: choose the "
            "--face it was trained for, or, to fit a regression to its embeddings, name it with "
            "--baseline."
        )


def group_columns(options: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the columns of --groups, each as values by identity.

    Raises `UsageError` for an option that is not FILE:COLUMN or a column given twice,
    `CorpusError` for a file that is not such a table.
    """
    columns: dict[str, dict[str, str]] = {}
    for option in options:
        file, _, column = option.rpartition(":")
        if not file or not column or column[0] in "/\\":  # the rest of an address, or of C:\...
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
            raise UsageError(
                f"--groups {option}: a column {column!r} is given already: name it once, or give "
                "the other one another name in its file."
            )
        columns[column] = _single_values(rows, column, file)
    return columns


def _single_values(rows: Sequence[Mapping[str, str]], column: str, file: str) -> dict[str, str]:
    """Return a column's values by identity. Raises `CorpusError` where one has two values."""
    values: dict[str, str] = {}
    for row in rows:
        if values.setdefault(row["identity"], row[column]) != row[column]:
            raise CorpusError(
                f"{file} gives {row['identity']} two values of {column!r}: groups are of people, "
                "so write one row for each."
            )
    return values


def _require_known(columns: Columns, corpus: Corpus, split: str) -> None:
    """Raise `CorpusError` for a column of --groups that has a value for nobody."""
    for column, values in columns.items():
        if not any(values.get(name) for name in corpus.names):
            raise CorpusError(
                f"The column {column!r} of --groups has a value for none of the {len(corpus)} "
                f"people of the split {split!r}: its file names people such as "
                f"{next(iter(values))!r}, the manifest such as {corpus.names[0]!r}, and both must "
                "use the same names."
            )


def require_train_people(train: Corpus) -> None:
    """Raise `CorpusError` for a train split of fewer people than a regression can be fitted to."""
    if len(train) < 2:
        raise CorpusError(
            f"The train split has {len(train)} identity to fit a regression to, and two or more "
            "are needed: leave out --baseline and --latents, or make other splits with vox2face "
            "data index."
        )


def check_options(
    corpus: Corpus, train: Corpus | None, options: Options, columns: Columns, embedded: bool
) -> Protocol:
    """Return the protocol of these people; raises early what the evaluation would raise later.

    Called twice: for all people with clips, and with `embedded` for those with readable clips.
    """
    who = "with a readable voice and a face" if embedded else "with voice and face"
    who = f"identities {who if options.uses_clips else 'with a face'} in the split "
    retrieval.cut_pools(len(corpus), options.pool, options.pools, f"{who}{options.split!r}")
    _require_known(columns, corpus, options.split)
    if train is not None:
        require_train_people(train)
    if options.latents:
        for people in filter(None, (corpus, train)):
            oracles.read_latents(options.latents, people.names)
    if options.decoder:
        decoded_faces.require_several(corpus.sitters)
    return protocol.make_protocol(
        corpus.names,
        corpus.genders,
        corpus.faces,
        corpus.sitters,
        options.pool,
        options.pools,
        options.distance,
        options.seed,
    )

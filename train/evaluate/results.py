"""The results of an evaluation; the fields are the keys of results.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vox2face.train.metrics.craniofacial import LandmarkAgreement
from vox2face.train.metrics.retrieval import RecallTable
from vox2face.train.metrics.statistics import Correlation, Interval, Share
from vox2face.train.metrics.vggface_score import Score

DIGITS = 9  # of numbers in results.json: machines differ in further ones


@dataclass(frozen=True)
class Spread(Interval):
    """A mean over people with its interval, and the standard deviation over them."""

    std: float


Similarity = Mapping[str, Interval]  # by measure: cosine, degrees, l1, l2


@dataclass(frozen=True)
class WithinGender:
    """Recall among the faces of the speaker's own gender, beside its chance: K / n of these.

    `pool` is the smallest and the largest n, `above` recall minus chance, `excludes_chance` whether
    that interval is above 0.
    """

    recall: RecallTable
    chance: Mapping[str, float]
    pool: tuple[int, int]
    above: Mapping[str, Interval]
    excludes_chance: Mapping[str, bool]


@dataclass(frozen=True)
class PermutationControl:
    """Recall and cosine with the faces permuted within each pool."""

    recall: RecallTable
    cosine: Interval


@dataclass(frozen=True)
class SystemResult:
    """The results of one system; `similarity` is to one's own pictures."""

    queries: int
    similarity: Similarity
    recall: RecallTable
    shuffled: PermutationControl
    within: WithinGender | None = None


@dataclass(frozen=True)
class References:
    """Recall that needs no network: a random order, and the faces of the right gender first.

    `gender_known` people have a gender; without any there is no oracle.
    """

    random: Mapping[str, float]
    gender_oracle: Mapping[str, float] | None = None
    gender_known: int | None = None


@dataclass(frozen=True)
class Accuracy:
    """Balanced accuracy with its interval over people, and chance: 1 / classes."""

    accuracy: float
    low: float
    high: float
    chance: float
    people: int
    at_chance: bool


@dataclass(frozen=True)
class Group:
    """Recall and cosine of one group of people."""

    people: int
    at: Mapping[str, Interval] = field(metadata={"flat": True})
    cosine: Interval


@dataclass(frozen=True)
class Groups:
    """Groups by value of a column; `left_out` people are in none or in a group of too few."""

    groups: Mapping[str, Group]
    left_out: int


@dataclass(frozen=True)
class DecodedRecall:
    """The recall of decoded pictures by one face network; `left_out` people had one picture."""

    network: str
    pool: int
    recall: RecallTable
    similarity: Similarity
    left_out: int | None = None


@dataclass(frozen=True)
class DecodedFaces:
    """The measures of decoded pictures, by the kind of pictures or the pair compared."""

    recall: Mapping[str, DecodedRecall]
    landmarks: Mapping[str, LandmarkAgreement]
    craniofacial: Mapping[str, Mapping[str, Correlation]]
    classifier: str | None = None
    vggface_score: Mapping[str, Score] | None = None


@dataclass(frozen=True)
class Pool:
    """The pools of faces: `used` of `people` are in `pools` pools of `size` each.

    `first` holds the name of the first person of each pool.
    """

    size: int
    pools: int
    used: int
    people: int
    who: str
    pictures: int
    clips: int
    order: str
    gallery: str
    query: str
    first: Sequence[str]


@dataclass(frozen=True)
class ManifestFacts:
    """The manifest: its number of rows, and the sha256 of its values."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class Oracles:
    """The oracles of synthetic people, and the fraction of their headroom that systems cover."""

    oracles: Mapping[str, RecallTable]
    latent_within: WithinGender | None
    latent_similarity: Similarity
    latent_penalty: float
    shares: Mapping[str, Mapping[str, Share]]
    ancestry: Mapping[str, Accuracy]


@dataclass(frozen=True)
class Results:
    """All results of an evaluation; `evaluate.files.as_json` writes them as results.json."""

    vox2face: str
    numpy: str
    settings: Mapping[str, Any]
    manifest: ManifestFacts
    weights: Mapping[str, Any]
    pool: Pool
    skipped: Sequence[str]
    main: str | None
    references: References
    systems: Mapping[str, SystemResult]
    ceiling: Similarity | None
    latents: Oracles | None = field(default=None, metadata={"flat": True})
    groups: Mapping[str, Groups] | None = None
    pictures: DecodedFaces | None = None


def plain(value: Any) -> Any:
    """Convert results for JSON.

    Numbers are rounded, those not finite are null, and optional parts that are missing are left
    out. The entries of fields marked as flat go into their parent.
    """
    if dataclasses.is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _plain_fields(value: Any) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for spec in dataclasses.fields(value):
        item = getattr(value, spec.name)
        if item is None and spec.default is None:
            continue
        entries.update(plain(item) if spec.metadata.get("flat") else {spec.name: plain(item)})
    return entries

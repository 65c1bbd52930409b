"""What an evaluation found, as `vox2face evaluate` writes it to results.json."""

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

DIGITS = 9  # of numbers in results.json: fewer than differ between machines


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
    """Recall and cosine with everybody's face exchanged for another one of the same pool."""

    recall: RecallTable
    cosine: Interval


@dataclass(frozen=True)
class SystemResult:
    """What one way of finding faces reaches; `similarity` is to one's own pictures."""

    queries: int
    similarity: Similarity
    recall: RecallTable
    shuffled: PermutationControl
    within: WithinGender | None = None


@dataclass(frozen=True)
class References:
    """Recall that needs no network: a random order, and the faces of the right gender first.

    `gender_known` people have a gender; where nobody has, there is no oracle.
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
    """Groups by value of a column, and how many people are in none or in one of too few."""

    groups: Mapping[str, Group]
    left_out: int


@dataclass(frozen=True)
class DecodedRecall:
    """How well one face network finds decoded pictures; `left_out` people had a single picture."""

    network: str
    pool: int
    recall: RecallTable
    similarity: Similarity
    left_out: int | None = None


@dataclass(frozen=True)
class DecodedFaces:
    """What is measured of decoded pictures, by what was decoded or compared."""

    recall: Mapping[str, DecodedRecall]
    landmarks: Mapping[str, LandmarkAgreement]
    craniofacial: Mapping[str, Mapping[str, Correlation]]
    classifier: str | None = None
    vggface_score: Mapping[str, Score] | None = None


@dataclass(frozen=True)
class Pool:
    """Who is ranked for whom: `used` of `people` are in `pools` pools of `size` each.

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
    """Which manifest: its rows, and the sha256 of its values."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class Oracles:
    """What the true sex, age and size of synthetic people would reach, and what systems cover."""

    oracles: Mapping[str, RecallTable]
    latent_within: WithinGender | None
    latent_similarity: Similarity
    latent_penalty: float
    shares: Mapping[str, Mapping[str, Share]]
    ancestry: Mapping[str, Accuracy]


@dataclass(frozen=True)
class Results:
    """Everything an evaluation found; `as_json` is what results.json holds."""

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
    """Return results as JSON has them.

    Numbers are rounded, what is not finite is null, and optional parts that are missing are left
    out. Fields marked as flat give their entries to what they are in.
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
    for each in dataclasses.fields(value):
        item = getattr(value, each.name)
        if item is None and each.default is None:
            continue
        entries.update(plain(item) if each.metadata.get("flat") else {each.name: plain(item)})
    return entries

"""Measure decoded pictures: recall by a face network, the VGGFace score, and landmarks.

A decoder that was trained with a face network scores too high with that network: its pictures
should be judged by another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError
from vox2face.core.progress import Bars
from vox2face.train.evaluate.protocol import (
    Protocol,
    held_out,
    make_protocol,
    occurrence,
    similarity_to_own,
)
from vox2face.train.evaluate.results import DecodedFaces, DecodedRecall
from vox2face.train.metrics.craniofacial import craniofacial_table, landmark_correlation
from vox2face.train.metrics.similarity import Array, Indices
from vox2face.train.metrics.vggface_score import SPLITS, vggface_score

if TYPE_CHECKING:
    from vox2face.runtime.face_decoder import FaceDecoder
    from vox2face.runtime.face_encoder import FaceEncoder

TOGETHER = 8  # faces decoded at a time
SPOKEN, DECODED, REAL = "speech-to-face", "face-to-face", "a second real picture"


@dataclass(frozen=True, eq=False)
class Drawn:
    """Decoded faces: RGB uint8 (n, 224, 224, 3), landmarks (n, 68, 2), and their people (n,)."""

    pixels: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    owners: Indices

    def of(self, people: Sequence[int]) -> NDArray[np.intp]:
        """Return the rows of `people`, in that order."""
        row_of = {int(owner): row for row, owner in enumerate(self.owners)}
        return np.array([row_of[int(person)] for person in people], np.intp)


@dataclass(frozen=True, eq=False)
class Judge:
    """A face network, and its embeddings of all real pictures, (pictures, width)."""

    name: str
    encoder: FaceEncoder
    faces: NDArray[np.float32]

    def embed(self, drawn: Drawn) -> Array:
        """Return the embeddings of decoded pictures, (n, width)."""
        result: Array = self.encoder(list(drawn.pixels)).astype(np.float64)
        return result


@dataclass(frozen=True, eq=False)
class Gallery:
    """The real pictures: the evaluation's protocol, the person of each picture, landmarks.

    `size` and `count` are the size and number of the pools in the options.
    """

    where: Protocol
    sitters: Indices
    landmarks: NDArray[np.float32] | None
    size: int | None
    count: int | None

    @property
    def first(self) -> Indices:
        """The first picture of each person (people,)."""
        rows = np.flatnonzero(occurrence(self.sitters) == 0)
        result: Indices = rows[np.argsort(self.sitters[rows])]
        return result


def draw(
    decoder: FaceDecoder, embeddings: NDArray[Any], owners: Indices, what: str, bars: Bars
) -> Drawn:
    """Decode the faces of embeddings (n, width)."""
    values = np.asarray(embeddings, np.float32)
    pixels, points = [], []
    for start in range(0, len(values), TOGETHER):
        bars.advance(f"Draw, {what}", start, len(values), " faces")
        for face in decoder(values[start : start + TOGETHER], TOGETHER):
            pixels.append(face.pixels)
            points.append(face.landmarks)
    bars.close()
    return Drawn(np.stack(pixels), np.stack(points), np.asarray(owners, np.intp))


def measure(
    drawn: Mapping[str, Drawn],
    real: Gallery,
    judges: Sequence[Judge],
    classifier: FaceEncoder | None,
) -> DecodedFaces:
    """Measure `SPOKEN` and `DECODED` faces, or one of these.

    Recall is by each judge, landmarks are compared between both and with the first real picture.
    """
    seed = real.where.seed
    recall: dict[str, DecodedRecall] = {}
    for judge in judges:
        if SPOKEN in drawn:
            recall[f"{SPOKEN} ({judge.name})"] = _spoken_recall(drawn[SPOKEN], real, judge)
        if DECODED in drawn:
            recall.update(_decoded_recall(drawn[DECODED], real, judge))
    scores = None
    if classifier is not None:
        scores = {
            name: vggface_score(probabilities(classifier, faces), seed)
            for name, faces in drawn.items()
            if len(faces.owners) >= 2 * SPLITS  # with fewer there is no score
        }
    pairs = _landmark_pairs(drawn, real)
    return DecodedFaces(
        recall=recall,
        landmarks={name: landmark_correlation(*both, seed) for name, both in pairs.items()},
        craniofacial={name: craniofacial_table(*both, seed) for name, both in pairs.items()},
        classifier=None if classifier is None else classifier.entry.name,
        vggface_score=scores,
    )


def _spoken_recall(drawn: Drawn, real: Gallery, judge: Judge) -> DecodedRecall:
    """Return recall and similarity of faces drawn from voices, in the pools of the evaluation."""
    where = real.where
    protocol = Protocol(
        where.names,
        where.genders,
        np.asarray(judge.faces, np.float64),
        real.sitters,
        where.pools,
        where.distance,
        where.seed,
    )
    queries = judge.embed(drawn)
    return DecodedRecall(
        network=judge.name,
        pool=len(where.pools[0]),
        recall=protocol.recall(queries, drawn.owners).table(where.seed),
        similarity=similarity_to_own(protocol, queries, drawn.owners),
    )


def require_several(sitters: Indices) -> None:
    """Raise `CorpusError` unless two people have two pictures: one to decode, one to find."""
    first, _ = held_out(sitters)
    if len(first) < 2:
        raise CorpusError(
            "With --decoder, two or more people with two pictures or more are needed, one to "
            f"decode and the others to find, and there {'is' if len(first) == 1 else 'are'} "
            f"{len(first)}: prepare more pictures, or leave --decoder out."
        )


def decoded_protocol(real: Gallery, judge: Judge) -> tuple[Protocol, Indices, Indices]:
    """Return the protocol for people with several pictures, the people, and the decoded pictures.

    The picture that is decoded is not in the gallery, which is the mean of the person's others.
    Pools are smaller than in the options if there are too few people. Raises `CorpusError` if
    there are fewer than two.
    """
    require_several(real.sitters)
    decoded, others = held_out(real.sitters)
    who = real.sitters[decoded]
    order = np.argsort(who)
    decoded, who = decoded[order], who[order]
    where = real.where
    position = np.full(len(where.names), -1)
    position[who] = np.arange(len(who))
    size, count = real.size, real.count
    if size is not None and size * (count or 1) > len(who):
        size, count = min(size, len(who)), None
    protocol = make_protocol(
        [where.names[i] for i in who],
        [where.genders[i] for i in who],
        judge.faces[others],
        position[real.sitters[others]],
        size,
        count,
        where.distance,
        where.seed,
    )
    return protocol, who, decoded


def _decoded_recall(drawn: Drawn, real: Gallery, judge: Judge) -> dict[str, DecodedRecall]:
    """Return recall of faces decoded from pictures, and of those pictures themselves.

    The recall of the real picture, with the person's other pictures in the gallery, is the ceiling.
    People with a single picture are left out, and counted.
    """
    protocol, who, decoded = decoded_protocol(real, judge)
    queries: dict[str, Array] = {
        DECODED: judge.embed(drawn)[drawn.of(who.tolist())],
        REAL: judge.faces[decoded].astype(np.float64),
    }
    people = np.arange(len(who))
    return {
        f"{name} ({judge.name})": DecodedRecall(
            network=judge.name,
            pool=len(protocol.pools[0]),
            recall=protocol.recall(rows, people).table(protocol.seed),
            similarity=similarity_to_own(protocol, rows, people),
            left_out=len(real.where.names) - len(who),
        )
        for name, rows in queries.items()
    }


def probabilities(classifier: FaceEncoder, drawn: Drawn) -> Array:
    """Return the classes' probabilities of decoded pictures, (n, classes)."""
    scores = classifier.logits(list(drawn.pixels)).astype(np.float64)
    scores -= scores.max(1, keepdims=True)
    odds = np.exp(scores)
    result: Array = odds / odds.sum(1, keepdims=True)
    return result


def _landmark_pairs(
    drawn: Mapping[str, Drawn], real: Gallery
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return pairs of landmarks (people, 68, 2) of the same people, by the names of both sets."""
    sets = dict(drawn)
    if real.landmarks is not None:
        rows = real.first[np.isfinite(real.landmarks[real.first]).all((1, 2))]
        no_pixels = np.zeros((len(rows), 1, 1, 3), np.uint8)
        sets["real"] = Drawn(no_pixels, real.landmarks[rows], real.sitters[rows])
    names = [name for name in (DECODED, SPOKEN, "real") if name in sets]
    pairs = {}
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            people = sorted(set(sets[first].owners.tolist()) & set(sets[second].owners.tolist()))
            if len(people) >= 2:
                a, b = sets[first], sets[second]
                pairs[f"{first}, {second}"] = (
                    a.landmarks[a.of(people)],
                    b.landmarks[b.of(people)],
                )
    return pairs

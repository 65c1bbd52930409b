"""Measure thresholds of face encoders on synthetic people, for vox2face/zoo/thresholds.py.

`python scripts/measure_thresholds.py [--people 300] [--seed 2031] [--model NAME] [--folder DIR]`
makes people up with `vox2face data synth`, three photographs each and no voices, cuts their faces
out as `vox2face compare` does, with and without --align, embeds them, and prints a row of the table
for each metric: the threshold at equal errors and the error, the threshold at 1 % of false accepts
and the misses, and false accepts and misses at the published threshold, each with a 95 % interval
over people. These are synthetic people: nothing of it holds for real ones. Run again with the same
--folder it makes no people again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from vox2face.core.errors import ImageError
from vox2face.media.image import decode
from vox2face.runtime import face_detection
from vox2face.runtime.base import Embeddings
from vox2face.runtime.compare import distances
from vox2face.runtime.face_encoder import FaceEncoder
from vox2face.runtime.load import load_kind
from vox2face.train.metrics.verification import Pairs, measure
from vox2face.train.synth.corpus import FACES, synthesise
from vox2face.zoo.catalog import DEFAULT_FACE
from vox2face.zoo.thresholds import METRICS, PUBLISHED, Measured

PICTURES = 3


def crops(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[int], int]:
    """Return all faces cut out, as they are and aligned, whose they are, and how many were missed.

    A photograph in which there is no single face is missed.
    """
    faces, aligned, who, missed = [], [], [], 0
    for number, person in enumerate(sorted((folder / FACES).iterdir())):
        for path in sorted(person.iterdir()):
            picture = decode(path)
            try:
                face = face_detection.the_face(picture)
            except ImageError:
                missed += 1
                continue
            faces.append(face_detection.crop(picture, face)[0])
            aligned.append(face_detection.crop(picture, face, align=True)[0])
            who.append(number)
    return faces, aligned, who, missed


def table_of(embeddings: Embeddings, metric: str, unit: bool) -> np.ndarray:
    """Return the distances of all pairs of embeddings, (n, n)."""
    return np.array([distances(one, embeddings, metric, unit) for one in embeddings])


def row(found: Measured) -> str:
    """Return what was measured as it is written into the table."""
    values = [value for value in vars(found).values() if isinstance(value, tuple)]
    words = [f"Estimate({', '.join(f'{v:.4f}' for v in value)})" for value in values]
    lines = [", ".join(words[n : n + 2]) for n in range(0, len(words), 2)]
    return f'Measured("{found.metric}", {found.people},\n    ' + ",\n    ".join(lines) + "),"


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--seed", type=int, default=2031)
    parser.add_argument("--model", default=DEFAULT_FACE)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    start = time.process_time()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="vox2face-thresholds-"))
    synthesise(folder, given.people, given.seed, PICTURES, clips=0, jobs=1)
    encoder = load_kind(FaceEncoder, given.model)
    *cut, who, missed = crops(folder)
    print(f"# {encoder!r}, seed {given.seed}")
    print(f"# {given.people} people, {len(who)} pictures with one face, {missed} without")
    published = PUBLISHED.get(encoder.entry.name)
    for align, faces in zip((False, True), cut, strict=True):
        print(f"# align {align}")
        embeddings = encoder(faces)
        for metric in METRICS:
            pairs = Pairs(table_of(embeddings, metric, bool(published and published.unit)), who)
            limit = published.thresholds[metric] if published else None
            print(row(measure(pairs, metric, given.seed, limit)), flush=True)
    print(f"# {time.process_time() - start:,.0f} s of one core")


if __name__ == "__main__":
    main()

"""Make the gallery of synthetic people that comes with vox2face from a synthetic corpus.

`python scripts/make_gallery.py CORPUS PREPARED OUT [--people 60]`, where CORPUS is a folder of
`vox2face data synth`, PREPARED what `vox2face data prepare CORPUS --crop` made of it, with
embeddings, and OUT the folder to write, `vox2face/assets/gallery` for the one that ships.

Only people of the split "test" are taken, in the order of their names. Of each it takes the first
photograph, the normalised face (the picture below `normalized_faces`; without one, the first
photograph again), both as they are, with their marks as synthetic, the embedding of that face, and
the beginning of the first clip as MP3. The table is described in `vox2face.runtime.gallery`.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from vox2face.core.errors import UsageError
from vox2face.core.files import atomic_file
from vox2face.media import audio, ffmpeg
from vox2face.runtime.gallery import TABLE, Person
from vox2face.train.corpus.manifest import NORMALIZED
from vox2face.train.prepare.reader import Prepared, open_prepared

SECONDS, BITS = 3.5, 48_000  # of a clip, and of a second of it
MARK = "Synthetic voice, made by a computer program. It is of no real person."


@dataclass
class Found:
    """Rows of the manifest, and the files, of one person."""

    photographs: list[tuple[int, Path]] = field(default_factory=list)
    faces: list[tuple[int, Path]] = field(default_factory=list)
    clips: list[tuple[int, Path]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether there is a photograph and a clip."""
        return bool(self.photographs and self.clips)


def found(prepared: Prepared, corpus: Path) -> dict[str, Found]:
    """Return what a corpus has of each person of the split "test", by name."""
    people: dict[str, Found] = defaultdict(Found)
    table = prepared.manifest.table
    wanted = [table[name].to_pylist() for name in ("identity", "kind", "role", "split", "path")]
    for row, (name, kind, role, split, path) in enumerate(zip(*wanted, strict=True)):
        if split != "test" or row in prepared.failed_rows:
            continue
        person, place = people[name], (row, corpus / path)
        if kind == "voice":
            person.clips.append(place)
        else:
            (person.faces if role == NORMALIZED else person.photographs).append(place)
    return {name: person for name, person in sorted(people.items()) if person.complete}


def write_mp3(source: Path, target: Path) -> None:
    """Write the beginning of a recording as MP3 that says that it is synthetic."""
    pcm = audio.to_pcm(audio.decode(source)[: int(SECONDS * audio.RATE)])
    with atomic_file(target) as partial, av.open(os.fspath(partial), "w", format="mp3") as file:
        file.metadata.update({"title": target.stem, "comment": MARK})
        stream = file.add_stream("libmp3lame", rate=audio.RATE, layout="mono", bit_rate=BITS)
        for frame in ffmpeg.frames_of_array(pcm[None], audio.RATE):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def main() -> None:
    """Write the gallery."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--people", type=int, default=60)
    given = parser.parse_args()
    prepared = open_prepared(given.prepared)
    people = found(prepared, given.corpus)
    if len(people) < given.people:
        raise UsageError(
            f"{given.corpus} has {len(people)} usable people of the split test, and "
            f"{given.people} are wanted: make up more, or say --people {len(people)}."
        )
    if given.out.exists() and not (given.out / TABLE).is_file():
        raise UsageError(f"{given.out} is there and no gallery: name another folder.")
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    embeddings, names = [], [*people][: given.people]
    for name in names:
        of, person = people[name], Person(name, given.out)
        row, face = (of.faces or of.photographs)[0]
        shutil.copyfile(of.photographs[0][1], person.photograph)
        shutil.copyfile(face, person.face)
        write_mp3(of.clips[0][1], person.clip)
        embeddings.append(np.asarray(prepared.embeddings[row], np.float32))
    space = prepared.space()
    np.savez(
        given.out / TABLE,
        names=np.array(names),
        embeddings=np.stack(embeddings),
        space=np.array([space.encoder, space.preset, space.digest]),
    )
    size = sum(path.stat().st_size for path in given.out.iterdir())
    print(f"{len(names)} people written to {given.out}: {size / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()

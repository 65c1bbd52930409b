"""The faces of `vox2face demo`: four synthetic people of the gallery, and two real recordings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2face.core import extras
from vox2face.media.decoded_face import Face
from vox2face.media.image import decode
from vox2face.runtime import face_detection, gallery
from vox2face.runtime.gallery import Gallery, Person
from vox2face.runtime.pipelines import FaceToFace, SpeechToFace, decoded

SYNTHETIC, NEAREST = 4, 3  # how many people of the gallery are shown, and how many faces as nearest
ASSETS = gallery.FOLDER.parent

# File -> what it is, and under which terms; see assets/NOTICE.md
RECORDINGS = {
    "speech.wav": "A volunteer of LibriVox reads Jane Austen (public domain)",
    "speech-ru.wav": "A telephone announcement in Russian (Maxim Topal, ivrvoice.ru, CC BY 3.0)",
}


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A person of the gallery: what is true of it and what the models make of it.

    `place_by_photograph` and `place_by_voice` are where the right face stands in the gallery, 1
    being the nearest.
    """

    person: Person
    from_photograph: Face
    from_voice: Face
    place_by_photograph: int
    place_by_voice: int


@dataclass(frozen=True, eq=False)
class Recorded:
    """A real recording: the face that the models make of it, and the nearest of the gallery."""

    clip: Path
    about: str
    from_voice: Face
    nearest: list[Person]


@dataclass(frozen=True, eq=False)
class Faces:
    """All that the demo shows; `people` is how many faces were ranked."""

    synthetic: list[Synthetic]
    recorded: list[Recorded]
    people: int

    @property
    def made_by(self) -> dict[str, str]:
        """The models, as pictures name them."""
        spoken, seen = self.synthetic[0].from_voice.made_by, self.synthetic[0].from_photograph
        return {**spoken, "face encoder": seen.made_by["encoder"]}


def make() -> Faces:
    """Return the faces. Raises `UsageError` without the extra that reads the clips."""
    extras.require("voice", "Reading the clips of the demo")
    people, spoken, seen = gallery.read(), SpeechToFace.from_zoo(), FaceToFace.from_zoo()
    chosen = people.people[:: max(1, len(people) // SYNTHETIC)][:SYNTHETIC]
    recorded = []
    for name, about in RECORDINGS.items():
        face = spoken(ASSETS / name)
        nearest = people.nearest(face.embedding, NEAREST)
        recorded.append(Recorded(ASSETS / name, about, face, nearest))
    return Faces([*shown(people, chosen, spoken, seen)], recorded, len(people))


def shown(
    people: Gallery, chosen: tuple[Person, ...], spoken: SpeechToFace, seen: FaceToFace
) -> Iterator[Synthetic]:
    """Yield what the models make of some people of the gallery."""
    for person in chosen:
        embedding = seen.face(cropped(person.photograph))
        (by_photograph,) = decoded(seen.face, seen.decoder, embedding)
        by_voice = spoken(person.clip)
        places = (people.place(f.embedding, person.name) for f in (by_photograph, by_voice))
        yield Synthetic(person, by_photograph, by_voice, *places)


def cropped(photograph: Path) -> NDArray[np.uint8]:
    """Return the largest face of a photograph, as `vox2face face2face` cuts it out."""
    picture = decode(photograph)
    return face_detection.crop(picture, face_detection.the_face(picture, "largest"))[0]


def summary(faces: Faces) -> Iterator[str]:
    """Yield lines about the people for the terminal."""
    chance = (faces.people + 1) / 2
    yield f"Place of the right face among the {faces.people} of the gallery (chance: {chance:g}):"
    for one in faces.synthetic:
        yield (
            f"  {one.person.name:<26} by the photograph {one.place_by_photograph:>3}, "
            f"by the voice {one.place_by_voice:>3}"
        )
    for other in faces.recorded:
        names = ", ".join(person.name for person in other.nearest)
        yield f"  {other.clip.name:<26} a real voice; the nearest synthetic faces: {names}"

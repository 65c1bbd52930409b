"""The tables and the card of a synthetic corpus, made from the people's files."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vox2face.core.errors import CorpusError
from vox2face.core.files import atomic_file
from vox2face.core.version import __version__

if TYPE_CHECKING:
    from vox2face.train.synth.bank.bank import Bank

# As in HQ-VoxCeleb's list
META = (
    "Class_ID",
    "Name",
    "Sample_Num",
    "Flag",
    "Gender_x",
    "VoxCeleb2ID",
    "VGGFace2ID",
    "Gender_y",
    "Set",
)
LATENT = ("identity", "speaker", "split", "male", "years", "size", "ancestry")

CARD = """\
---
license: cc0-1.0
pretty_name: Synthetic people of vox2face
tags: [synthetic, speech-to-face]
---

# Synthetic people

**Nobody in this corpus exists.** {people} invented people with {pictures} photographs and {clips}
clips, made by `vox2face data synth --identities {identities} --seed {seed}` (vox2face {version}).
It is for trying out training and evaluation of speech-to-face networks where the real corpora
cannot be had, and says nothing about real people: the ties between voice and face below are
**invented**, chosen before anything was trained on them, and only their rough sizes are as in life.

| split | people | women | men |
|---|---|---|---|
{splits}

## What is inside

- `wav/ID/SENTENCE/NUMBER.wav`: clips, 16 kHz mono 16 bit, in the layout of VoxCeleb
- `vox2/origin_faces/NAME/NUMBER.jpg`: photographs, {size} x {size}, laid out as HQ-VoxCeleb
- `vox2/normalized_faces/NAME/1.jpg`: the normalised picture of each person: from the front, calm,
  in even light, without glasses, the eyes in fixed places; what face decoders learn to draw
- `full_vox2_meta.csv`: names, ids and genders; `split.csv`: the splits, which are disjoint in
  people, base voices and sentences
- `people.csv`: the latent values and the traits of the voice, from which the best possible ranking
  of faces for a voice can be computed; `people/NAME.json`: everything, with the 68 landmarks of
  every picture as the mesh has them

`vox2face data index FOLDER` reads all of this as it reads the real corpora. Every file says that it
is synthetic: pictures in Exif and XMP, clips in their INFO chunk.

## How it was made

**A person** is drawn first: sex (even), age (even, {youngest:.0f} to {oldest:.0f} years), size of
body and head (normal, within a sex) and ancestry (even, three). **Voice and face are tied by sex,
age and size only.** Ancestry, skin, iris, hair colour, light and background do not know the voice,
nor does the base voice know the face: they are the negative control, and a network that predicts
them from the voice above chance has found a leak.

**Faces** are rendered from the head of MakeHuman's base mesh (CC0) with its shape targets, a
procedural skin, hair, light, pose and background.

**Voices** (WORLD) are made of the recordings of a bank of base voices:
{bank}
Base voices are drawn evenly among those of the speaker's sex and split. A clip's fundamental
frequency, formants, tilt, breathiness, jitter, tremor and rate are then set by the vocoder WORLD.

### Strength of the ties: voice

{voice_ties}

### Strength of the ties: face

{face_ties}

## Settings

```json
{settings}
```
"""


def write_tables(out: Path, settings: Mapping[str, Any], bank: Bank, identities: int) -> None:
    """Write the tables and the card. Raises `CorpusError` if a person's file is damaged."""
    people = [read_person(path) for path in sorted((out / "people").glob("*.json"))]
    write_csv(out / "people.csv", *_latent_table(people))
    write_csv(
        out / "split.csv", ("identity", "split"), ([p["identity"], p["split"]] for p in people)
    )
    write_csv(out / "full_vox2_meta.csv", META, (_meta_row(p) for p in people))
    with atomic_file(out / "README.md") as partial:
        partial.write_text(card(settings, bank, people, identities), encoding="utf-8")


def read_person(path: Path) -> dict[str, Any]:
    """Read a person's JSON file. Raises `CorpusError` if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"identity": content["identity"], **content}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{path} is damaged: delete it and run the same command again."
        ) from error


def _latent_table(people: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the header and rows of the latent values; traits of the voice begin with voice_."""
    voice = list(people[0]["voice"]) if people else []
    rows = [[p[n] for n in LATENT] + [p["voice"][n] for n in voice] for p in people]
    return [*LATENT, *(f"voice_{name}" for name in voice)], rows


def _meta_row(p: Mapping[str, Any]) -> list[Any]:
    """Return a person's row of full_vox2_meta.csv."""
    gender = "m" if p["male"] else "f"
    part = "test" if p["split"] == "test" else "dev"
    number = p["index"]
    return [
        f"n{number:06d}",
        p["identity"],
        len(p["pictures"]),
        int(part == "dev"),
        gender,
        p["speaker"],
        f"n{number:06d}",
        gender,
        part,
    ]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as comma-separated values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with atomic_file(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def card(
    settings: Mapping[str, Any], bank: Bank, people: Sequence[Mapping[str, Any]], identities: int
) -> str:
    """Return the card of a corpus as Markdown with Hugging Face's metadata."""
    from vox2face.train.synth.face import looks
    from vox2face.train.synth.person import OLDEST, YOUNGEST
    from vox2face.train.synth.voice import traits

    count = Counter((p["split"], p["male"]) for p in people)
    splits = "\n".join(
        f"| {s} | {count[s, False] + count[s, True]} | {count[s, False]} | {count[s, True]} |"
        for s in ("train", "val", "test")
    )
    return CARD.format(
        people=len(people),
        pictures=sum(len(p["pictures"]) for p in people),
        clips=sum(len(p["clips"]) for p in people),
        identities=identities,
        seed=settings["seed"],
        size=settings["size"],
        version=__version__,
        splits=splits,
        youngest=YOUNGEST,
        oldest=OLDEST,
        bank=f"{bank.description}\nLicence of the bank: {bank.licence}.",
        voice_ties=ties_table(traits.TIES),
        face_ties=ties_table(looks.TIES),
        settings=json.dumps(dict(settings), indent=2, sort_keys=True),
    )


def ties_table(ties: Mapping[str, Any]) -> str:
    """Return the ties as a Markdown table."""
    rows = [f"| {name} | {value} |" for name, value in ties.items()]
    return "\n".join(["| tie | value |", "|---|---|", *rows])

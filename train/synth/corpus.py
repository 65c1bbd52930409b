"""`vox2face data synth`: a corpus of invented people, in the layouts of VoxCeleb and HQ-VoxCeleb.

    README.md                            how it was made, and that its ties are invented
    corpus.json                          the settings; written first
    full_vox2_meta.csv, split.csv        names, ids and genders; the split of every person
    people.csv                           the latent values of every person
    people/NAME.json                     all there is to a person, with landmarks of the pictures
    vox2/origin_faces/NAME/1.jpg         photographs
    vox2/normalized_faces/NAME/1.jpg     the normalised picture: frontal, calm, in even light
    wav/ID/SENTENCE/00001.wav            clips, 16 kHz mono 16 bit

A person is a pure function of the seed and its number, and is complete when its JSON file is
there: so a run goes on where another one stopped, and any number of processes give the same bytes.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.core.extras import require
from vox2face.core.files import atomic_file, require_space
from vox2face.core.progress import Bars
from vox2face.train.media import save_wav
from vox2face.train.outputs import claim
from vox2face.train.synth import media
from vox2face.train.synth.bank.bank import Bank, open_bank
from vox2face.train.synth.card import write_tables
from vox2face.train.synth.person import Person, sample_person, split_of
from vox2face.train.workers import as_made

if TYPE_CHECKING:
    from vox2face.train.synth.face.render import Rendered

VERSION = 2
SETTINGS = "corpus.json"
PEOPLE = "people"
FACES = "vox2/origin_faces"
NORMALIZED = "vox2/normalized_faces"
CLIPS = "wav"
BYTES = {"picture": 25_000, "clip": 130_000, "person": 60_000}  # more than they take


@dataclass(frozen=True)
class Settings:
    """What makes a corpus what it is; `bank` is the fingerprint of the base recordings."""

    seed: int
    pictures: int
    clips: int
    size: int
    bank: str
    synthesis: str = "world"  # the only one; folders of earlier versions state it
    version: int = VERSION


def synthesise(
    out: Path,
    identities: int,
    seed: int = 0,
    pictures: int = 4,
    clips: int = 5,
    size: int = 224,
    bank: str = "seed",
    jobs: int | None = None,
) -> int:
    """Write a corpus into the folder `out`, and return how many people were made just now.

    `bank` is "seed" (24 voices, shipped), "full" (built by `vox2face data bank`) or a folder.
    Raises `UsageError` if `out` holds anything else.
    """
    require("synth", "vox2face data synth")
    recordings = open_bank(bank)
    settings = Settings(seed, pictures, clips, size, recordings.fingerprint)
    claim(out, SETTINGS, asdict(settings))
    todo = [i for i in range(identities) if not _person_file(out, i).exists()]
    each = (pictures + 1) * BYTES["picture"] + clips * BYTES["clip"] + BYTES["person"]
    require_space(out, len(todo) * each, f"A corpus of {identities} people")
    bars = Bars()
    try:
        workers = jobs or os.cpu_count() or 1
        made = as_made(workers, make, todo, begin, out, settings, bank, what="people")
        for done, _ in enumerate(made, 1):
            bars.advance("people", done, len(todo), " people")
    finally:
        bars.close()
    write_tables(out, asdict(settings), recordings, identities)
    return len(todo)


def _person_file(out: Path, index: int) -> Path:
    """Return the file that says that a person is complete."""
    return out / PEOPLE / f"Synthetic_Person_{index:06d}.json"


# What a process works with; set once by `begin`, because a bank keeps analysed recordings.
WORK: dict[str, Any] = {}


def begin(out: Path, settings: Settings, bank: str) -> None:
    """Open the bank in this process."""
    WORK.update(out=out, settings=settings, bank=open_bank(bank))


def make(index: int) -> None:
    """Write everything of a person; its own file comes last."""
    out: Path = WORK["out"]
    settings: Settings = WORK["settings"]
    bank: Bank = WORK["bank"]
    split = split_of(settings.seed, index)
    voices = [bank.voices(sex, split) for sex in ("f", "m")]
    person = sample_person(settings.seed, index, voices)
    views = [_write_picture(out, settings, person, k) for k in range(settings.pictures)]
    normal = _write_normalized(out, settings, person)
    spoken = [_write_clip(out, settings, person, bank, k) for k in range(settings.clips)]
    facts = {**asdict(person), "identity": person.identity, "speaker": person.speaker}
    with atomic_file(_person_file(out, index)) as partial:
        partial.write_text(
            json.dumps(
                {**facts, "pictures": views, "normalized": normal, "clips": spoken}, default=plain
            )
            + "\n"
        )


def _write_picture(out: Path, settings: Settings, person: Person, k: int) -> dict[str, Any]:
    """Render and write a picture; return its path, view and landmarks (68, 2) in pixels."""
    from vox2face.train.synth.face.render import render
    from vox2face.train.synth.face.views import sample_view

    view = sample_view(np.random.default_rng([settings.seed, 5, person.index, k]))
    rendered = render(person.look, view, settings.size)
    path = f"{FACES}/{person.identity}/{k + 1}.jpg"
    return {**saved(out, path, rendered), "view": asdict(view)}


def _write_normalized(out: Path, settings: Settings, person: Person) -> dict[str, Any]:
    """Render and write the normalised picture; return its path and landmarks (68, 2) in pixels."""
    from vox2face.train.synth.face.normalized import render_normalized

    path = f"{NORMALIZED}/{person.identity}/1.jpg"
    return saved(out, path, render_normalized(person.look, settings.size))


def saved(out: Path, path: str, rendered: Rendered) -> dict[str, Any]:
    """Write a picture, and return what a person's file says of it."""
    media.save_jpeg(out / path, rendered.pixels)
    return {"path": path, "landmarks": np.round(rendered.landmarks.astype(float), 2)}


def _write_clip(
    out: Path, settings: Settings, person: Person, bank: Bank, k: int
) -> dict[str, Any]:
    """Render and write a clip; return its path and sentence."""
    from vox2face.train.synth.voice.render import render_voice

    sentences = bank.sentences(person.split)
    order = np.random.default_rng([settings.seed, 6, person.index]).permutation(len(sentences))
    sentence = sentences[int(order[k % len(sentences)])]
    rng = np.random.default_rng([settings.seed, 7, person.index, k])
    waveform = render_voice(bank.analysis(person.voice.base, sentence), person.voice, rng)
    path = f"{CLIPS}/{person.speaker}/{sentence}/{k + 1:05d}.wav"
    save_wav(out / path, waveform)
    return {"path": path, "sentence": sentence, "seconds": round(len(waveform) / 16000, 3)}


def plain(value: Any) -> Any:
    """Return NumPy values as JSON has them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")

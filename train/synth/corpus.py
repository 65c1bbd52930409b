"""`vox2face data synth`: a corpus of invented people, in the layouts of VoxCeleb and HQ-VoxCeleb.

    README.md                            how it was made, and that its ties are invented
    corpus.json                          the settings; written first
    full_vox2_meta.csv, split.csv        names, ids and genders; the split of every person
    people.csv                           the latent values of every person
    people/NAME.json                     all of a person, with the landmarks of the pictures
    vox2/origin_faces/NAME/1.jpg         photographs
    vox2/normalized_faces/NAME/1.jpg     the normalised picture: frontal, calm, in even light
    wav/ID/SENTENCE/00001.wav            clips, 16 kHz mono 16 bit

A person is a pure function of the seed and its number, and is complete when its JSON file
exists: a run goes on where another one stopped, and any number of processes give the same bytes.
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
from vox2face.train.workers import map_unordered

if TYPE_CHECKING:
    from vox2face.train.synth.face.render import Rendered

VERSION = 2
SETTINGS = "corpus.json"
PEOPLE = "people"
FACES = "vox2/origin_faces"
NORMALIZED = "vox2/normalized_faces"
CLIPS = "wav"
BYTES = {"picture": 25_000, "clip": 130_000, "person": 60_000}  # upper bounds


@dataclass(frozen=True)
class Settings:
    """The settings that a corpus is a function of; `bank` is the fingerprint of the recordings."""

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
    """Write a corpus into the folder `out`, and return the number of people made in this run.

    `bank` is "seed" (24 voices, shipped), "full" (built by `vox2face data bank`) or a folder.
    Raises `UsageError` if `out` holds anything else.
    """
    require("synth", "vox2face data synth")
    recordings = open_bank(bank)
    settings = Settings(seed, pictures, clips, size, recordings.fingerprint)
    claim(out, SETTINGS, asdict(settings))
    missing = [i for i in range(identities) if not _person_file(out, i).exists()]
    bytes_per_person = (pictures + 1) * BYTES["picture"] + clips * BYTES["clip"] + BYTES["person"]
    require_space(out, len(missing) * bytes_per_person, f"A corpus of {identities} people")
    bars = Bars()
    try:
        workers = jobs or os.cpu_count() or 1
        results = map_unordered(
            workers, make_person, missing, init_worker, out, settings, bank, what="people"
        )
        for done, _ in enumerate(results, 1):
            bars.advance("people", done, len(missing), " people")
    finally:
        bars.close()
    write_tables(out, asdict(settings), recordings, identities)
    return len(missing)


def _person_file(out: Path, index: int) -> Path:
    """Return the path of the file that marks a person as complete."""
    return out / PEOPLE / f"Synthetic_Person_{index:06d}.json"


# Of each process; set once by `init_worker`, because a bank caches analysed recordings.
STATE: dict[str, Any] = {}


def init_worker(out: Path, settings: Settings, bank: str) -> None:
    """Set the state of this process, and open the bank."""
    STATE.update(out=out, settings=settings, bank=open_bank(bank))


def make_person(index: int) -> None:
    """Write all files of a person, the JSON file last."""
    out: Path = STATE["out"]
    settings: Settings = STATE["settings"]
    bank: Bank = STATE["bank"]
    split = split_of(settings.seed, index)
    voices = [bank.voices(sex, split) for sex in ("f", "m")]
    person = sample_person(settings.seed, index, voices)
    views = [_write_picture(out, settings, person, k) for k in range(settings.pictures)]
    normalized = _write_normalized(out, settings, person)
    clips = [_write_clip(out, settings, person, bank, k) for k in range(settings.clips)]
    facts = {**asdict(person), "identity": person.identity, "speaker": person.speaker}
    with atomic_file(_person_file(out, index)) as partial:
        partial.write_text(
            json.dumps(
                {**facts, "pictures": views, "normalized": normalized, "clips": clips},
                default=to_json,
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
    return {**_save_picture(out, path, rendered), "view": asdict(view)}


def _write_normalized(out: Path, settings: Settings, person: Person) -> dict[str, Any]:
    """Render and write the normalised picture; return its path and landmarks (68, 2) in pixels."""
    from vox2face.train.synth.face.normalized import render_normalized

    path = f"{NORMALIZED}/{person.identity}/1.jpg"
    return _save_picture(out, path, render_normalized(person.look, settings.size))


def _save_picture(out: Path, path: str, rendered: Rendered) -> dict[str, Any]:
    """Write a picture, and return its entry in the person's file."""
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


def to_json(value: Any) -> Any:
    """Convert NumPy values for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")

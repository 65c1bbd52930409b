"""A corpus of invented people: complete, repeatable, marked, and split without overlap."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("numba", reason="needs the extra synth")
pytest.importorskip("pyworld", reason="needs the extra synth")

from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio, image
from vox2face.train.synth import corpus
from vox2face.train.synth.person import BLOCK, sample_person, split_of

VOICES = (("f000", "f001"), ("m000", "m001"))


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "people"
    assert corpus.synthesise(out, 6, seed=3, pictures=2, clips=2, size=96, jobs=1) == 6
    return out


def test_every_person_has_pictures_clips_and_facts(people: Path) -> None:
    rows = list(csv.DictReader((people / "people.csv").read_text().splitlines()))
    assert len(rows) == 6
    for row in rows:
        facts = json.loads((people / "people" / f"{row['identity']}.json").read_text())
        assert [p["path"] for p in facts["pictures"]] == [
            f"vox2/origin_faces/{row['identity']}/{n}.jpg" for n in (1, 2)
        ]
        for picture in facts["pictures"]:
            assert image.decode(people / picture["path"]).shape == (96, 96, 3)
            landmarks = np.array(picture["landmarks"])
            assert landmarks.shape == (68, 2)
            assert landmarks[36:48].min() > 0 and landmarks[36:48].max() < 96  # the eyes are inside
        for clip in facts["clips"]:
            waveform = audio.decode(people / clip["path"])
            assert abs(len(waveform) / audio.RATE - clip["seconds"]) < 1e-3


def test_every_file_says_that_it_is_synthetic(people: Path) -> None:
    for path in people.rglob("*.jpg"):
        data = path.read_bytes()
        assert b"digitalsourcetype/algorithmicMedia" in data
        with Image.open(path) as picture:
            assert "no real person" in picture.getexif()[0x010E]
    for path in people.rglob("*.wav"):
        assert b"Synthetic speech" in path.read_bytes()[:200]
    card = (people / "README.md").read_text()
    assert "Nobody in this corpus exists" in card and "invented" in card
    assert "formants_size | -0.028" in card  # the ties are stated


@pytest.mark.long
def test_any_number_of_processes_gives_the_same_bytes(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    corpus.synthesise(out, 10, seed=3, pictures=2, clips=2, size=96, jobs=2)
    first, second = hashes(people), hashes(out)
    tables = {"people.csv", "split.csv", "full_vox2_meta.csv", "README.md"}
    assert all(second[name] == digest for name, digest in first.items() if name not in tables)


@pytest.mark.long
def test_an_interrupted_run_goes_on_to_the_same_bytes(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "resumed"
    corpus.synthesise(out, 4, seed=3, pictures=2, clips=2, size=96, jobs=1)
    gone = out / "people" / "Synthetic_Person_000002.json"
    gone.unlink()  # as if the run had been killed before this person was complete
    next((out / "wav" / "id000002").rglob("*.wav")).unlink()
    assert corpus.synthesise(out, 6, seed=3, pictures=2, clips=2, size=96, jobs=1) == 3
    assert hashes(out) == hashes(people)


def test_other_options_in_the_same_folder_are_refused(people: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was made with seed 3, not 4"):
        corpus.synthesise(people, 6, seed=4, pictures=2, clips=2, size=96)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        corpus.synthesise(tmp_path, 6)


def test_a_damaged_person_is_named(tmp_path: Path) -> None:
    out = tmp_path / "people"
    corpus.synthesise(out, 1, pictures=0, clips=1, jobs=1)
    (out / "people" / "Synthetic_Person_000000.json").write_text("{")
    with pytest.raises(CorpusError, match=r"Synthetic_Person_000000\.json is damaged: delete it"):
        corpus.synthesise(out, 1, pictures=0, clips=1, jobs=1)


def test_splits_are_disjoint_in_people_base_voices_and_sentences(people: Path) -> None:
    seen: dict[str, set[str]] = {}
    for path in (people / "people").glob("*.json"):
        facts = json.loads(path.read_text())
        split = seen.setdefault(facts["split"], set())
        split |= {facts["voice"]["base"], *(clip["sentence"] for clip in facts["clips"])}
    for split, used in seen.items():
        for other, others in seen.items():
            assert split == other or not used & others


def test_splits_have_exact_shares_and_do_not_depend_on_the_number_of_people() -> None:
    splits = [split_of(7, i) for i in range(200)]
    assert {name: splits.count(name) for name in BLOCK} == {"train": 150, "val": 20, "test": 30}
    assert splits[:20] != [split_of(8, i) for i in range(20)]


def test_voice_and_face_share_nothing_but_sex_age_and_size() -> None:
    sampled = [sample_person(0, i, VOICES) for i in range(600)]
    alike = np.array([p.ancestry for p in sampled])
    for trait in ("f0", "alpha", "tilt", "breath", "rate"):
        for male in (False, True):
            chosen = [i for i, p in enumerate(sampled) if p.male == male]
            values = np.array([getattr(sampled[i].voice, trait) for i in chosen])
            means = np.array([values[alike[chosen] == a].mean() for a in range(3)])
            spread = values.std() / np.sqrt(len(values) / 3)
            assert np.abs(means - values.mean()).max() < 4 * spread
    assert all((p.voice.base in VOICES[1]) == p.male for p in sampled)

"""The gallery of synthetic people that comes with vox2face, and the script that makes one."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from helpers.paths import ROOT
from PIL import Image

import vox2face as package
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.media import audio, image
from vox2face.runtime import gallery
from vox2face.train.metrics import retrieval

Run = Callable[..., CompletedProcess[str]]
MARK = b"digitalsourcetype/algorithmicMedia"


@pytest.mark.long
def test_everybody_is_there_and_marked_as_synthetic() -> None:
    people = gallery.read()
    assert len(people) >= 4 and people.embeddings.shape == (len(people), 128)
    assert people.space == package.load("dlib_resnet128.dlib").space
    assert sum(path.stat().st_size for path in gallery.FOLDER.iterdir()) <= 4_000_000
    for person in people.people:
        assert audio.decode(person.clip).size > 16_000
        assert b"Synthetic voice" in person.clip.read_bytes()
        for path in (person.photograph, person.face):
            assert image.decode(path).shape[2] == 3 and MARK in path.read_bytes()
            with Image.open(path) as picture:
                assert "no real person" in picture.getexif()[0x010E]


def test_faces_are_ranked_as_the_evaluation_does() -> None:
    people = gallery.read()
    queries = people.embeddings[:3] + 0.05 * np.random.default_rng(0).standard_normal((3, 128))
    want = retrieval.distances(queries, people.embeddings.astype(float), "centred")
    np.testing.assert_allclose(people.distances(queries), want, atol=1e-9)
    for row, query in zip(want, queries, strict=True):
        order = np.argsort(row)
        names = [people.people[number].name for number in order]
        assert [person.name for person in people.nearest(query, 3)] == names[:3]
        assert people.place(query, names[2]) == 3
    assert people.place(people.embeddings[1], people.people[1].name) == 1
    with pytest.raises(UsageError, match="has nobody called Jane"):
        people.place(queries[0], "Jane")
    with pytest.raises(UsageError, match="have 5: use a model of dlib_resnet128"):
        people.nearest(np.ones(5, np.float32), 1)


def test_a_damaged_gallery_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Vox2FaceError, match=r"people\.npz is missing or damaged"):
        gallery.read(tmp_path)
    (tmp_path / "people.npz").write_bytes(b"PK nothing")
    with pytest.raises(Vox2FaceError, match=r"people\.npz is missing or damaged"):
        gallery.read(tmp_path)
    (tmp_path / "people.npz").write_bytes((gallery.FOLDER / "people.npz").read_bytes())
    with pytest.raises(Vox2FaceError, match="of the gallery is missing"):
        gallery.read(tmp_path)


@pytest.mark.long
def test_the_script_takes_only_people_of_the_test_split(
    inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, prepared, out = (tmp_path / name for name in ("corpus", "prepared", "gallery"))
    small = ("--identities", 5, "--pictures", 2, "--clips", 1, "--jobs", 1)
    assert inside("data", "synth", "--out", corpus, *small).returncode == 0
    names = [line.split(",")[0] for line in (corpus / "split.csv").read_text().splitlines()[1:]]
    rows = [f"{name},{'test' if n % 2 else 'train'}" for n, name in enumerate(names)]
    (tmp_path / "split.csv").write_text("\n".join(["identity,split", *rows]) + "\n")
    split = ("--split", tmp_path / "split.csv")
    assert inside("data", "index", corpus, *split).returncode == 0
    stages = ("--stages", "landmarks,embeddings", "--jobs", 1, "--max-failures", "50%")
    done = inside("data", "prepare", corpus, "--out", prepared, "--crop", *stages)
    assert done.returncode == 0, done.stderr

    def make(people: int) -> None:
        arguments = ["make_gallery", corpus, prepared, out, "--people", people]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
        runpy.run_path(str(ROOT / "scripts" / "make_gallery.py"), run_name="__main__")

    make(2)
    assert "2 people written" in capsys.readouterr().out
    made = gallery.read(out)
    assert [person.name for person in made.people] == names[1::2]
    found = made.people[0].photograph.read_bytes()
    assert any(path.read_bytes() == found for path in corpus.rglob("*.jpg"))
    assert MARK in found and made.space.encoder == "dlib_resnet128.dlib"
    with pytest.raises(UsageError, match="2 usable people of the split test, and 3 are wanted"):
        make(3)
    (out / "people.npz").unlink()
    with pytest.raises(UsageError, match="is there and no gallery"):
        make(2)
    assert made.people[0].clip.is_file()

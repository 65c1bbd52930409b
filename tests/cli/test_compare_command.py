"""`vox2face compare` tells distance, threshold and verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from helpers.paths import ROOT

ASSETS = ROOT / "vox2face" / "assets"
PHOTOS = sorted((ASSETS / "gallery").glob("*.photo.jpg"))[:2]
DLIB = "dlib_resnet128.dlib"
Run = Callable[..., Any]


@pytest.mark.long
def test_compare_needs_no_options_and_tells_where_the_verdict_comes_from(inside: Run) -> None:
    done = inside("compare", ASSETS / "astronaut.png", PHOTOS[0])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\n ", " ").splitlines()  # what goes on begins with a blank
    rows = dict(line.split(maxsplit=1) for line in lines)
    assert list(rows) == ["distance", "threshold", "verdict", "model", "note", "synthetic"]
    assert rows["distance"].endswith("(cosine)") and rows["verdict"] == "different persons"
    told = "0.0563, from equal errors on 300 synthetic people, not real ones"
    assert rows["threshold"] == told and "should lean on it" in rows["note"]
    assert rows["model"] == f"{DLIB}, preset dlib"
    assert "both errors are 10.2 % [8.7 %, 11.5 %]" in rows["synthetic"]
    assert "at 0.07 (deepface 0.0.103, config/threshold.py) 24.3 %" in rows["synthetic"]


def test_compare_prints_json(inside: Run) -> None:
    done = inside("compare", *PHOTOS, "--model", DLIB, "--metric", "euclidean", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["threshold"] == 0.6 and found["verified"] == (found["distance"] <= 0.6)
    assert (found["model"], found["metric"], found["synthetic"]) == (DLIB, "euclidean", None)
    assert found["source"] == "deepface 0.0.103, config/threshold.py, Dlib"


def test_compare_says_that_there_is_no_threshold(inside: Run) -> None:
    done = inside("compare", *PHOTOS, "--model", DLIB, "--preset", "deepface")
    assert done.returncode == 0, done.stderr
    assert "threshold  none: deepface 0.0.103, config/threshold.py holds for" in done.stdout
    assert "verdict    none, without a threshold" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.png", PHOTOS[0]], "There is no none.png"),
        ([*PHOTOS, "--no-crop", "--align"], "--align needs --crop"),
        ([*PHOTOS, "--model", "face_decoder.demo"], "expected an encoder"),
        ([*PHOTOS, "--metric", "l2"], "'l2' is not one of 'cosine'"),
    ],
)
def test_compare_refuses_in_a_sentence(inside: Run, arguments: list[Any], words: str) -> None:
    done = inside("compare", *arguments)
    assert done.returncode == 2 and words in done.stderr

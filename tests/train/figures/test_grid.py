"""Grids name the people they show, legibly and within their pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageChops

from vox2face.train.figures.contact_sheet import GAP
from vox2face.train.figures.face_grid import HEAD, LEFT, NAME, TITLE, sheet
from vox2face.train.figures.tiles import PAPER, TILE, fitted, font_of

NAMES = (
    "Synthetic_Person_000008",
    "A.J._Buckley",
    "Alejandro_González_Iñárritu_and_others",
    "W" * 300,
    "i" * 500,
    "",
    "two\nlines",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_fit_their_tile(name: str) -> None:
    font = font_of(NAME)
    shown = fitted(name, font, TILE)
    assert font.getlength(shown) <= TILE
    assert "\n" not in shown
    if font.getlength(name.replace("\n", "?")) > TILE:
        assert shown.count("…") == 1
        assert font.getlength(shown) > 0.8 * TILE  # no shorter than it has to be
    else:
        assert shown == name.replace("\n", "?")


def test_names_that_are_counted_stay_different() -> None:
    font = font_of(NAME)
    names = [f"A_Synthetic_Person_of_this_corpus_{i:06d}" for i in range(20)]
    assert len({fitted(name, font, TILE) for name in names}) == 20
    shown = fitted(names[7], font, TILE)
    assert shown.startswith("A_Synth") and "…" in shown


def test_a_long_name_leaves_the_room_beside_its_tile_empty() -> None:
    white = np.full((8, 8, 3), 255, np.uint8)
    columns = {"original": {0: white}, "face-to-face": {0: white}}
    short, long = (sheet("", [0], [name], columns) for name in ("", "W" * 60))
    box = ImageChops.difference(short, long).getbbox()
    assert PAPER == "#ffffff" and box is not None
    top = HEAD + TITLE + 4 + TILE
    assert LEFT <= box[0] < box[2] <= LEFT + TILE < LEFT + TILE + GAP
    assert top <= box[1] < box[3] <= top + TITLE

"""Curves show in one panel only what can be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vox2face.train.figures import curves

TRAINED = {"step": 10, "epoch": 1, "lr": 1e-3, "items_per_second": 9.0, "loss": 3.0, "value": 1.0}
EVALUATED = {"step": 10, "epoch": 1, "val_loss": 1.1, "val_value": 1.1}
RANKED = {"val_rank": 0.2, "val_recall10": 0.3, "val_pool": 1500.0}


def panels(*rows: dict[str, float]) -> dict[str, list[str]]:
    return {title: list(names) for title, names in curves.panels(rows)}


def test_a_loss_without_ranking_is_not_drawn_beside_one_with_it() -> None:
    found = panels({**TRAINED, "infonce": 2.0}, EVALUATED)
    assert found["loss in training"] == ["loss", "value", "infonce"]
    assert found["val_loss (without infonce)"] == ["val_loss"]
    assert found["value"] == ["value", "val_value"]


def test_a_loss_of_the_same_parts_is_drawn_beside_that_of_training() -> None:
    found = panels(TRAINED, EVALUATED)
    assert found["loss"] == ["loss", "value", "val_loss"]
    assert found["value"] == ["value", "val_value"]
    assert not any("val_loss" in title for title in found)


def test_a_loss_whose_parts_are_not_known_stands_apart() -> None:
    found = panels(TRAINED, {"step": 10, "val_loss": 1.1})
    assert found["val_loss"] == ["val_loss"] and "val_loss" not in found["loss in training"]


def test_recall_and_rank_state_their_pool() -> None:
    found = panels(TRAINED, EVALUATED | RANKED)
    assert found["val_recall10 among 1,500 faces"] == ["val_recall10"]
    assert found["val_rank among 1,500 faces (0.5 is chance)"] == ["val_rank"]
    assert not any("val_pool" in names for names in found.values())


def test_every_value_but_the_pool_is_in_some_panel() -> None:
    rows = ({**TRAINED, "infonce": 2.0}, EVALUATED | RANKED | {"val_cosine": 0.9})
    drawn = {name for names in panels(*rows).values() for name in names}
    assert drawn == {name for row in rows for name in row} - {"step", "epoch", "val_pool"}


@pytest.mark.parametrize(
    "name, guess", [("val_recall10", 0.05), ("val_recall500", 1.0), ("val_cosine", None)]
)
def test_recall_has_a_line_for_chance(name: str, guess: float | None) -> None:
    assert curves.chance(name, 200) == guess
    assert curves.chance(name, 0) is None


def axes_of(names: list[str], *rows: dict[str, float]) -> object:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    curves.panel(axes, rows, "title", names)
    return axes


def test_chance_is_drawn_where_the_pool_is_known() -> None:
    def labels(*rows: dict[str, float]) -> list[str]:
        axes = axes_of(["val_recall10"], *rows)
        return [line.get_label() for line in axes.get_lines()]  # type: ignore[attr-defined]

    assert labels(RANKED | {"step": 10}) == ["val_recall10", "chance"]
    assert labels({"step": 10, "val_recall10": 0.3}) == ["val_recall10"]


def test_losses_of_several_magnitudes_are_drawn_logarithmically() -> None:
    def scale(least: float) -> str:
        rows = [{"step": 10.0, "loss": 3.0}, {"step": 20.0, "loss": least}]
        return str(axes_of(["loss"], *rows).get_yscale())  # type: ignore[attr-defined]

    assert [scale(least) for least in (2.0, 0.1, 0.0, -3.0)] == ["linear", "log", *2 * ["linear"]]


def test_a_picture_is_drawn_of_few_rows_as_of_many(tmp_path: Path) -> None:
    for number, rows in enumerate(([TRAINED], [TRAINED, EVALUATED | RANKED], [TRAINED] * 40)):
        path = tmp_path / f"{number}.png"
        curves.draw(rows, path)
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 10

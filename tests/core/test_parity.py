"""The comparison itself: what counts as equal, and what a report says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vox2face.core.parity import Report, compare

WANT = np.array([[1.0, -2.0], [0.5, 4.0]], np.float32)


def test_figures_are_those_of_their_definitions() -> None:
    row = compare("torch", "conv", WANT + np.float32(0.0002), WANT, atol=0.0, rtol=1e-4)
    assert row.max_abs == pytest.approx(2e-4, rel=1e-3)
    assert row.max_rel == pytest.approx(2e-4 / 4, rel=1e-3)
    assert row.cosine == pytest.approx(1, abs=1e-6)
    assert row.ok


@pytest.mark.parametrize(
    "got",
    [
        WANT + np.float32(5e-4),
        WANT * np.nan,
        WANT * np.inf,
        WANT.T.copy(),
        WANT[:1],
        np.zeros_like(WANT),
        -WANT,
    ],
    ids=["too far", "nan", "inf", "transposed", "shape", "zero", "negated"],
)
def test_everything_else_fails(got: np.ndarray) -> None:
    assert not compare("torch", "conv", got, WANT).ok


def test_two_silent_layers_are_equal_and_one_is_not() -> None:
    zero = np.zeros((2, 2), np.float32)
    assert compare("torch", "relu", zero, zero).ok
    assert not compare("torch", "relu", zero + np.float32(1e-3), zero).ok
    assert not compare("torch", "relu", np.zeros(0), np.zeros(0)).ok


def test_the_verdict_names_the_first_failure_and_an_empty_report_proves_nothing() -> None:
    good, bad = compare("torch", "conv", WANT, WANT), compare("torch", "fc6", -WANT, WANT)
    assert "FAILED at fc6 (torch)" in Report([good, bad, bad]).verdict()
    assert "PROVEN at 1 layers" in Report([good]).verdict()
    assert not Report().ok and "NOT PROVEN" in Report(verify="none").verdict()
    report = Report([good, bad], {"numpy": "2"}, {"a.h5": "00"})
    assert Report.from_json(report.to_json()) == report
    content = json.loads(Report([good, bad], {"numpy": "2"}, {"a.h5": "00"}).to_json())
    assert content["ok"] is False and len(content["rows"]) == 2
    assert content["rows"][1]["tap"] == "fc6" and content["hashes"] == {"a.h5": "00"}

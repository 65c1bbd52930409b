"""One bar at a time, on a terminal only, and none where nothing is done any more."""

from __future__ import annotations

import io
import sys

import pytest

from vox2face.core import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal_until_its_stage_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress.advance("write", 1000, 4000)
    assert "write" in screen.getvalue() and "4.00k" in screen.getvalue()
    progress.advance("write", 4000, 4000)
    assert screen.getvalue().endswith("\r")  # the bar is wiped
    progress.advance("download", 5, 0)
    progress.advance("prove", 1, 3)
    assert "download" in screen.getvalue() and "prove" in screen.getvalue()
    progress.close()
    assert screen.getvalue().endswith("\r")


def test_elsewhere_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    progress.advance("write", 1, 2)
    assert not file.getvalue()


def test_a_stage_that_comes_again_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress.advance("write", 3000, 4000)  # interrupted
    progress.advance("write", 10, 9000)
    assert "9.00k" in screen.getvalue()
    progress.close()

"""Progress bars with rate and remaining time, shown only where somebody watches.

Work that takes long calls `advance`; the one bar on the screen goes when its stage is done.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

FEW = 1000


class Bars:
    """One bar a stage on standard error; silent when that is not a terminal."""

    def __init__(self) -> None:
        self.stage = ("", 0)
        self.bar: tqdm[Any] | None = None

    def advance(self, stage: str, done: int, total: int, unit: str = "") -> None:
        """Show that `done` of `total` of a stage is done.

        Without a `unit` these are bytes, or steps if there are few; a `total` of 0 is unknown.
        """
        if not sys.stderr.isatty():
            return
        if self.bar is None or (stage, total) != self.stage:
            from tqdm import tqdm

            self.close()
            self.stage = (stage, total)
            unit = unit or ("B" if total > FEW else " steps")
            self.bar = tqdm(
                total=total, initial=done, unit=unit, unit_scale=True, desc=stage, leave=False
            )
        self.bar.update(done - self.bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Remove the bar from the screen."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


_SCREEN = Bars()
advance, close = _SCREEN.advance, _SCREEN.close

"""Numbers as options of commands."""

from __future__ import annotations

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A number within limits; what is no number ("nan") is refused, which click would take."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number

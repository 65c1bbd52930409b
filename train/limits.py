"""Checks of a recipe's values that name the key, what it is and what it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vox2face.errors import UsageError

HIGHEST_RATE = 1000.0  # of learning
LARGEST = 10**6  # size of a layer


def within(table: str, settings: Any, **limits: tuple[float, float]) -> None:
    """Raise `UsageError` unless these numbers of a table lie between the limits, these included."""
    for name, (least, most) in limits.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise UsageError(f"{table}.{name} is {value}: it must be from {least} to {most}.")


def one_of(table: str, settings: Any, **known: Sequence[str]) -> None:
    """Raise `UsageError` unless these words of a table are known ones."""
    for name, words in known.items():
        value = getattr(settings, name)
        if value not in words:
            raise UsageError(f"{table}.{name} is {value!r}: use one of {', '.join(words)}.")


def require_sizes(options: Mapping[str, Any], key: str = "network.options") -> None:
    """Raise `UsageError` for options of a network that cannot be sizes of layers."""
    if "width" in options:
        raise UsageError(f"{key}.width follows from the face encoder: leave it out.")
    for name, value in options.items():
        if isinstance(value, Mapping):
            require_sizes(value, f"{key}.{name}")
        for size in value if isinstance(value, list | tuple) else [value]:
            if isinstance(size, int | float) and not 1 <= size <= LARGEST and size is not False:
                raise UsageError(f"{key}.{name} is {value}: sizes are from 1 to {LARGEST}.")

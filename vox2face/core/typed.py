"""Whether a dataclass that somebody else filled holds what its fields are declared to hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import repeat
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

MODULES = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")  # as in "vox2face.core.entry.Source"


def misfits(value: Any, kind: Any, name: str = "") -> Iterator[str]:
    """Yield "source is None, expected Source" for each field of another type, nested ones too.

    `kind` is the dataclass that `value` should be, `name` what leads to it, such as "outputs[0]".
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    chosen = next((one for one in kinds if one is Any or _is_a(value, one)), None)
    args = get_args(chosen)
    if chosen is None or (
        get_origin(chosen) is tuple and ... not in args and len(args) != len(value)
    ):
        text = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
        yield f"{name} is {value!r:.60}, expected {MODULES.sub('', text)}"
    elif get_origin(chosen) is tuple:
        ones = repeat(args[0], len(value)) if ... in args else args
        for i, (item, one) in enumerate(zip(value, ones, strict=True)):
            yield from misfits(item, one, f"{name}[{i}]")
    elif is_dataclass(chosen):
        for key, one in get_type_hints(chosen).items():
            yield from misfits(getattr(value, key), one, f"{name}.{key}".lstrip("."))


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, whatever it holds; an int will do as a float."""
    return isinstance(value, (int, float) if kind is float else get_origin(kind) or kind)

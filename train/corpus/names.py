"""Join the names of people in metadata with those of folders, without guessing.

The same name comes in several forms: composed (NFC) in metadata, decomposed (NFD) out of archives
unpacked on macOS, and without its letters beyond ASCII in folders made by SF2F and Speech-to-face
(`string.printable`, Kacper-Pietkun/Speech-to-face data_preprocessing/normalize_directory_names.py).
Folders of Windows cannot end in a dot: Windows drops it, 7-Zip writes an underscore instead.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

PRINTABLE = frozenset(string.printable)
NO_END = " ._"  # characters that a name may have lost or gained at its end


def exact(name: str) -> str:
    """Return a name in NFC, the form used in manifests."""
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    """Return a name without accents, case, and dots at its end."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    return "".join(c for c in letters if not unicodedata.combining(c)).rstrip(NO_END)


def printable(name: str) -> str:
    """Return a name's printable ASCII, as SF2F and Speech-to-face do, without dots at its end."""
    return "".join(letter for letter in exact(name) if letter in PRINTABLE).rstrip(NO_END)


FORMS: tuple[Callable[[str], str], ...] = (exact, _folded, printable)


@dataclass
class Joined:
    """Known names by the name given, and the names given that fit several known ones."""

    names: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)


def join(known: Iterable[str], given: Iterable[str]) -> Joined:
    """Match the names given with known ones, by the first of the three forms that fits any.

    A form that fits several known names is ambiguous: the name is not joined.
    """
    people = sorted({exact(name) for name in known})
    tables = [table(people, form) for form in FORMS]
    joined = Joined()
    for name in dict.fromkeys(given):
        candidates = _candidates(name, tables)
        if len(candidates) == 1:
            joined.names[name] = candidates[0]
        elif candidates:
            joined.ambiguous[name] = tuple(candidates)
    return joined


def table(people: Iterable[str], form: Callable[[str], str]) -> dict[str, list[str]]:
    """Return people by a form of their names; those with an empty form are left out."""
    people_by_form: dict[str, list[str]] = {}
    for name in people:
        if key := form(name):
            people_by_form.setdefault(key, []).append(name)
    return people_by_form


def _candidates(name: str, tables: Iterable[dict[str, list[str]]]) -> list[str]:
    """Return the people that a name fits, by the first form that fits any."""
    for form, people in zip(FORMS, tables, strict=True):
        if matches := people.get(form(name)):
            return matches
    return []

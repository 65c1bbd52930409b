"""Names of people as they are written in metadata and on disks, joined without guessing.

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
NO_END = " ._"  # what a name may have lost or got at its end


def exact(name: str) -> str:
    """Return a name in NFC, the form in which manifests keep it."""
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    """Return a name without accents, case, and dots at its end."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    return "".join(c for c in letters if not unicodedata.combining(c)).rstrip(NO_END)


def printable(name: str) -> str:
    """Return what is left of a name by the rule of SF2F and Speech-to-face, without end dots."""
    return "".join(letter for letter in exact(name) if letter in PRINTABLE).rstrip(NO_END)


FORMS: tuple[Callable[[str], str], ...] = (exact, _folded, printable)


@dataclass
class Joined:
    """Whom names stand for: `names` by the name given; `ambiguous` those that fit several."""

    names: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)


def join(known: Iterable[str], given: Iterable[str]) -> Joined:
    """Find known names again in given ones, in the first of the three forms that fits any.

    A form that fits several known names is ambiguous, and nobody is chosen.
    """
    people = sorted({exact(name) for name in known})
    tables = [table(people, form) for form in FORMS]
    joined = Joined()
    for name in dict.fromkeys(given):
        found = _candidates(name, tables)
        if len(found) == 1:
            joined.names[name] = found[0]
        elif found:
            joined.ambiguous[name] = tuple(found)
    return joined


def table(people: Iterable[str], form: Callable[[str], str]) -> dict[str, list[str]]:
    """Return the people under a form of their names; nothing is left of some."""
    found: dict[str, list[str]] = {}
    for name in people:
        if key := form(name):
            found.setdefault(key, []).append(name)
    return found


def _candidates(name: str, tables: Iterable[dict[str, list[str]]]) -> list[str]:
    """Return the people that a name fits in the first form in which it fits any."""
    for form, people in zip(FORMS, tables, strict=True):
        if found := people.get(form(name)):
            return found
    return []

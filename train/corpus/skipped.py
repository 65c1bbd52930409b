"""What was left out of a corpus, and why: counts and examples for people, lists for a file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

MOST_FILES = 1000  # paths listed for each reason
EXAMPLES = 5


@dataclass
class Skipped:
    """Files and people that were left out, by reason."""

    files: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    paths: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    people: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def file(self, reason: str, path: str) -> None:
        """Note a file or folder that is left out."""
        self.files[reason] += 1
        if len(self.paths[reason]) < MOST_FILES:
            self.paths[reason].append(displayable(path))

    def person(self, reason: str, name: str, files: int) -> None:
        """Note a person that is left out, and the number of files that are lost with it."""
        files_of_person = self.people[reason]
        files_of_person[displayable(name)] = files_of_person.get(displayable(name), 0) + files

    def summary(self) -> dict[str, Any]:
        """Return counts and a few examples under each reason, as `info["summary"]` has them."""
        return {reason: abridged(entry) for reason, entry in self.full().items()}

    def full(self) -> dict[str, Any]:
        """Return counts and all names under each reason, files up to a thousand."""
        result: dict[str, Any] = {}
        for reason, names in sorted(self.people.items()):
            listed = sorted(names)
            result[reason] = {"people": len(names), "files": sum(names.values()), "names": listed}
        for reason, count in sorted(self.files.items()):
            result[reason] = {"files": count, "names": sorted(self.paths[reason])}
        return result


def abridged(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of `full` with its first `EXAMPLES` names as "examples"."""
    examples = entry["names"][:EXAMPLES]
    return {**{k: v for k, v in entry.items() if k != "names"}, "examples": examples}


def displayable(name: str) -> str:
    """Return a name for JSON: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

"""The metadata of VoxCeleb: which id is whom, of which gender.

| file               | delimiter | columns                                                         |
|--------------------|-----------|-----------------------------------------------------------------|
| vox1_meta.csv      | tab       | VoxCeleb1 ID, VGGFace1 ID (the name), Gender, Nationality, Set  |
| vox2_meta.csv      | comma     | VoxCeleb2 ID, VGGFace2 ID, Gender, Set; no names, stray blanks  |
| full_vox2_meta.csv | comma     | Class_ID, Name, ..., VoxCeleb2ID, VGGFace2ID, Gender_y, Set     |

Sources: the data set's own files; BAI-Yeqi/HQ-VoxCeleb meta_info.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vox2face.core.errors import CorpusError
from vox2face.core.files import UNKNOWN, identify_bytes
from vox2face.train import storage
from vox2face.train.corpus.names import exact

DELIMITERS = "\t,;|"

# Columns of a corpus, the best first; the letters and digits of a header count, not its spaces.
IDS = {"voxceleb1": ("voxceleb1id",), "voxceleb2": ("voxceleb2id",)}
NAMES = {"voxceleb1": ("vggface1id", "name"), "voxceleb2": ("name",)}
GENDERS = ("gendery", "gender", "genderx")
FILES = {
    "voxceleb1": ("vox1_meta.csv",),
    "voxceleb2": ("full_vox2_meta.csv", "vox2_meta.csv"),
}
FOLDERS = ("", "meta", "meta_info", "vox1", "vox2", "vox1/meta", "vox2/meta")
ABOVE = 2  # folders above a corpus in which its metadata may lie


@dataclass(frozen=True)
class Metadata:
    """The rows of a metadata file in their order; `names` is None where it has none.

    Names are NFC. `genders` are "f", "m" or None.
    """

    corpus: str
    place: str
    ids: tuple[str, ...]
    names: tuple[str, ...] | None
    genders: tuple[str | None, ...]

    def by_id(self) -> dict[str, set[str]]:
        """Return the names of each id: more than one where rows contradict each other."""
        found: dict[str, set[str]] = {}
        for speaker, name in zip(self.ids, self.names or self.ids, strict=True):
            found.setdefault(speaker, set()).add(name)
        return found

    def gender_of(self) -> dict[str, str]:
        """Return the gender of each name, or id without names; none where rows contradict."""
        found: dict[str, set[str]] = {}
        for name, gender in zip(self.names or self.ids, self.genders, strict=True):
            if gender:
                found.setdefault(name, set()).add(gender)
        return {name: min(own) for name, own in found.items() if len(own) == 1}


def read(place: storage.Place, corpus: str) -> Metadata:
    """Read the metadata of "voxceleb1" or "voxceleb2", whatever separates the columns.

    Raises `CorpusError` for what is no such table.
    """
    lines = text_of(place).splitlines()
    rows = list(csv.reader(lines, delimiter=_delimiter_of(lines, corpus, place)))
    header = [plain(cell) for cell in rows[0]]
    columns = [column(header, wanted) for wanted in (IDS[corpus], NAMES[corpus], GENDERS)]
    ids: list[str] = []
    names: list[str] = []
    genders: list[str | None] = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise CorpusError(
                f"Line {number} of {place} has {len(row)} columns, the first has {len(header)}: "
                "repair that line or fetch the file again."
            )
        speaker, name, gender = (row[at].strip() if at is not None else "" for at in columns)
        ids.append(speaker)
        names.append(exact(name))
        genders.append(gender.lower()[:1] if gender.lower()[:1] in ("f", "m") else None)
    if not ids:
        raise CorpusError(f"{place} has no rows below its header: fetch it again.")
    known = tuple(names) if columns[1] is not None else None
    return Metadata(corpus, str(place), tuple(ids), known, tuple(genders))


def text_of(place: storage.Place) -> str:
    """Return a text file's content. Raises `CorpusError` for what is none."""
    data = storage.read_bytes(place)
    kind = identify_bytes(data[:512])
    if kind not in ("plain text", "a JSON file", UNKNOWN):
        raise CorpusError(f"{place} is {kind}: expected a table as text, such as CSV.")
    try:
        return data.decode("utf-8-sig").replace("\0", "")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{place} is no UTF-8 text (byte {error.start}): fetch it again, or save it as UTF-8."
        ) from error


def _delimiter_of(lines: Sequence[str], corpus: str, place: storage.Place) -> str:
    """Return what separates the columns: that by which the header has the column of the ids."""
    header = lines[0] if lines else ""
    for delimiter in DELIMITERS:
        cells = next(csv.reader([header], delimiter=delimiter), [])
        if column([plain(cell) for cell in cells], IDS[corpus]) is not None:
            return delimiter
    wanted = f"VoxCeleb{corpus[-1]} ID"
    raise CorpusError(
        f"{place} has no column {wanted!r}; its first line is {header[:80]!r}. Expected is "
        f"{' or '.join(FILES[corpus])}, its columns separated by tabs or commas."
    )


def plain(cell: str) -> str:
    """Return the letters and digits of a column's name, in lower case."""
    return "".join(letter for letter in cell.lower() if letter.isalnum())


def column(header: Sequence[str], wanted: Iterable[str]) -> int | None:
    """Return which column has one of the names, the first of them that there is."""
    return next((header.index(name) for name in wanted if name in header), None)


def find(corpus: str, places: Iterable[storage.Place]) -> str | None:
    """Return the metadata file in or near one of the folders; one with names is preferred."""
    near = [storage.join(above, *folder.split("/")) if folder else above
            for place in places for above in upwards(place) for folder in FOLDERS]  # fmt: skip
    for name in FILES[corpus]:
        for folder in near:
            if storage.exists(place := storage.join(folder, name)):
                return place
    return None


def upwards(place: storage.Place) -> list[str]:
    """Return a folder and those above it."""
    if storage.is_remote(place):
        return [str(place).rstrip("/")]
    found = [os.path.abspath(place)]
    for _ in range(ABOVE):
        found.append(os.path.dirname(found[-1]))
    return list(dict.fromkeys(found))

"""The metadata of VoxCeleb: the name and gender of each id.

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
    path: str
    ids: tuple[str, ...]
    names: tuple[str, ...] | None
    genders: tuple[str | None, ...]

    def by_id(self) -> dict[str, set[str]]:
        """Return the names of each id: more than one where rows contradict each other."""
        names_by_id: dict[str, set[str]] = {}
        for speaker, name in zip(self.ids, self.names or self.ids, strict=True):
            names_by_id.setdefault(speaker, set()).add(name)
        return names_by_id

    def gender_of(self) -> dict[str, str]:
        """Return the gender of each name (or id, without names) whose rows agree."""
        genders_of: dict[str, set[str]] = {}
        for name, gender in zip(self.names or self.ids, self.genders, strict=True):
            if gender:
                genders_of.setdefault(name, set()).add(gender)
        return {name: min(genders) for name, genders in genders_of.items() if len(genders) == 1}


def read(path: storage.PathOrUri, corpus: str) -> Metadata:
    """Read the metadata of "voxceleb1" or "voxceleb2", with any of `DELIMITERS`.

    Raises `CorpusError` for a file that is not such a table.
    """
    lines = text_of(path).splitlines()
    rows = list(csv.reader(lines, delimiter=_delimiter_of(lines, corpus, path)))
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
                f"Line {number} of {path} has {len(row)} columns, the first has {len(header)}: "
                "repair that line or fetch the file again."
            )
        speaker, name, gender = (row[at].strip() if at is not None else "" for at in columns)
        ids.append(speaker)
        names.append(exact(name))
        genders.append(gender.lower()[:1] if gender.lower()[:1] in ("f", "m") else None)
    if not ids:
        raise CorpusError(f"{path} has no rows below its header: fetch it again.")
    known_names = tuple(names) if columns[1] is not None else None
    return Metadata(corpus, str(path), tuple(ids), known_names, tuple(genders))


def text_of(path: storage.PathOrUri) -> str:
    """Return a text file's content. Raises `CorpusError` for a file that is not text."""
    data = storage.read_bytes(path)
    kind = identify_bytes(data[:512])
    if kind not in ("plain text", "a JSON file", UNKNOWN):
        raise CorpusError(f"{path} is {kind}: expected a table as text, such as CSV.")
    try:
        return data.decode("utf-8-sig").replace("\0", "")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not UTF-8 text (byte {error.start}): fetch it again, or save it as UTF-8."
        ) from error


def _delimiter_of(lines: Sequence[str], corpus: str, path: storage.PathOrUri) -> str:
    """Return the delimiter with which the header has the column of the ids."""
    header = lines[0] if lines else ""
    for delimiter in DELIMITERS:
        cells = next(csv.reader([header], delimiter=delimiter), [])
        if column([plain(cell) for cell in cells], IDS[corpus]) is not None:
            return delimiter
    expected = f"VoxCeleb{corpus[-1]} ID"
    raise CorpusError(
        f"{path} has no column {expected!r}; its first line is {header[:80]!r}. Expected "
        f"{' or '.join(FILES[corpus])}, its columns separated by tabs or commas."
    )


def plain(cell: str) -> str:
    """Return the letters and digits of a column's name, in lower case."""
    return "".join(letter for letter in cell.lower() if letter.isalnum())


def column(header: Sequence[str], names: Iterable[str]) -> int | None:
    """Return the index of the first of `names` in the header; None without any."""
    return next((header.index(name) for name in names if name in header), None)


def find(corpus: str, corpora: Iterable[storage.PathOrUri]) -> str | None:
    """Return the metadata file in or near the folders of corpora; one with names comes first."""
    folders = [storage.join(above, *folder.split("/")) if folder else above
            for root in corpora for above in upwards(root) for folder in FOLDERS]  # fmt: skip
    for name in FILES[corpus]:
        for folder in folders:
            if storage.exists(path := storage.join(folder, name)):
                return path
    return None


def upwards(path: storage.PathOrUri) -> list[str]:
    """Return a folder and `ABOVE` folders above it; of an address only itself."""
    if storage.is_remote(path):
        return [str(path).rstrip("/")]
    folders = [os.path.abspath(path)]
    for _ in range(ABOVE):
        folders.append(os.path.dirname(folders[-1]))
    return list(dict.fromkeys(folders))

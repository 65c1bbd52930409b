"""The folder layout of the Speech-to-face repo: PERSON/audios and PERSON/images.

Its folders have names in ASCII where `vox2face data export --ascii` or its own
normalize_directory_names.py made them; `names.csv` beside them then says whose they are.
"""

from __future__ import annotations

import csv
import io

from vox2face.errors import CorpusError
from vox2face.train import storage

MAPPING = "names.csv"
COLUMNS = ["folder", "identity"]


def read_names(root: storage.Place) -> dict[str, str]:
    """Return the identity of each folder that names.csv lists; without that file, none.

    Raises `CorpusError` for one with other columns.
    """
    place = storage.join(root, MAPPING)
    if not storage.exists(place):
        return {}
    rows = list(csv.reader(io.StringIO(storage.read_bytes(place).decode("utf-8-sig"), newline="")))
    if not rows or rows[0] != COLUMNS or any(len(row) != 2 for row in rows):
        raise CorpusError(f"{place} must have the columns {','.join(COLUMNS)}: export it again.")
    return {row[0]: row[1] for row in rows[1:]}

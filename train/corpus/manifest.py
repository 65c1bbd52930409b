"""The manifest of a corpus: a Parquet table with one row for each recording and picture.

| column   | type                | what                                                           |
|----------|---------------------|----------------------------------------------------------------|
| identity | string (dictionary) | the person, one spelling (NFC) for voices and faces            |
| kind     | string (dictionary) | "voice" or "face"                                              |
| role     | string (dictionary) | of a picture: "photo", or "normalized"; null means a photo     |
| source   | string (dictionary) | where it comes from: "voxceleb1", "hq-voxceleb", "folders" ... |
| split    | string (dictionary) | "train", "val" or "test"; null without a split                 |
| gender   | string (dictionary) | "f" or "m" as the metadata has it; null if it has none         |
| root     | string (dictionary) | the folder or address the corpus was found in                  |
| path     | string              | the file below `root`, with /                                  |
| duration | float32             | seconds of a recording; null where it is not measured           |

A normalised picture shows its person from the front, calm and in even light: what face decoders
learn to draw. Manifests of version 1 have no roles.

The schema's metadata holds the version of this layout and `info`, a JSON object: the summary of
what was found, joined and dropped, how it was split, and which version of vox2face wrote it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.extras import require
from vox2face.core.version import __version__
from vox2face.train import storage

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "2"
FIRST = "1"  # without roles
FILE = "manifest.parquet"
KINDS = ("voice", "face")
PHOTO, NORMALIZED = ROLES = ("photo", "normalized")
SPLITS = ("train", "val", "test")
DICTIONARIES = ("identity", "kind", "role", "source", "split", "gender", "root")
COLUMNS = (*DICTIONARIES, "path", "duration")
NEVER_NULL = ("identity", "kind", "root", "path")
MARK = b"vox2face_manifest"


def schema() -> pa.Schema:
    """Return the Arrow schema: columns and types."""
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())
    columns = [pa.field(name, word) for name in DICTIONARIES]
    return pa.schema([*columns, pa.field("path", pa.string()), pa.field("duration", pa.float32())])


@dataclass(frozen=True, eq=False)
class Manifest:
    """A corpus: `table` has the columns of the module's docstring, `info` describes it."""

    table: pa.Table
    info: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def where(self, **values: str | None) -> Manifest:
        """Return the rows whose columns have these values: `where(kind="voice", split="val")`.

        None stands for a missing value. Raises `UsageError` for a column that does not exist.
        """
        import pyarrow.compute as pc

        table = self.table
        for name, value in values.items():
            if name not in COLUMNS:
                raise UsageError(f"A manifest has no column {name!r}: use {', '.join(COLUMNS)}.")
            column = table[name]
            if name in DICTIONARIES:
                column = column.cast("string")
            table = table.filter(pc.is_null(column) if value is None else pc.equal(column, value))
        return Manifest(table, self.info)

    def column(self, name: str) -> list[Any]:
        """Return a column as a list (rows,); missing values are None."""
        values: list[Any] = self.table[name].to_pylist()
        return values

    def identities(self) -> list[str]:
        """Return the distinct identities, sorted."""
        return sorted(name for name in self.table["identity"].unique().to_pylist())

    def files(self) -> list[str]:
        """Return the path or address of each row's file."""
        rows = zip(self.column("root"), self.column("path"), strict=True)
        return [storage.join(root, path) for root, path in rows]


def from_columns(columns: Mapping[str, Any], info: Mapping[str, Any] | None = None) -> Manifest:
    """Make a manifest of columns of equal length; columns left out are null."""
    import pyarrow as pa

    rows = len(next(iter(columns.values())))
    arrays = []
    for column in schema():
        values = columns.get(column.name)
        if values is None:
            arrays.append(pa.nulls(rows, column.type))
        elif isinstance(values, pa.Array | pa.ChunkedArray):
            arrays.append(values.cast(column.type))
        else:
            plain = pa.string() if pa.types.is_dictionary(column.type) else column.type
            arrays.append(pa.array(values, plain).cast(column.type))
    return Manifest(pa.Table.from_arrays(arrays, schema=schema()), info or {})


def write(manifest: Manifest, path: storage.PathOrUri) -> None:
    """Write a manifest as a whole or not at all; equal manifests give equal bytes."""
    require("data", "A manifest")
    import pyarrow.parquet as pq

    info = {**manifest.info, "vox2face": __version__}
    marks = {MARK: VERSION, b"info": json.dumps(info, ensure_ascii=False, sort_keys=True)}
    table = manifest.table.select(list(COLUMNS)).unify_dictionaries()
    # PyArrow itself opens no name that is not UTF-8
    with storage.atomic(path) as partial, partial.open("wb") as file:
        ready = table.replace_schema_metadata(marks)
        pq.write_table(ready, file, compression="zstd", write_page_checksum=True)


def read(path: storage.PathOrUri) -> Manifest:
    """Read a manifest: the file, or the folder that holds `manifest.parquet`.

    Raises `CorpusError` for what is not a manifest, is damaged, or of another version.
    """
    require("data", "A manifest")
    import pyarrow.parquet as pq

    if not (os.fspath(path).endswith(".parquet") or os.path.isfile(path)):
        path = storage.join(path, FILE)
    with storage.open_binary(path) as file, _damage_explained(path):
        # threads that read a Python file may outlive it and abort the process at its exit:
        # https://github.com/apache/arrow/issues/50482
        opened = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
        table = opened.read(use_threads=False)
        marks = table.schema.metadata or {}
    version = marks.get(MARK, b"").decode(errors="replace")
    if version == FIRST and "role" not in table.column_names:
        version, table = VERSION, _without_roles(table)
    if version != VERSION or missing(table):
        found = f"a manifest of version {version}" if version else "a Parquet file, but no manifest"
        raise CorpusError(
            f"{path} is {found}; expected version {VERSION}: make it again with "
            "vox2face data index."
        )
    with _damage_explained(path):
        return Manifest(validated(table), {**json.loads(marks[b"info"])})


@contextmanager
def _damage_explained(path: storage.PathOrUri) -> Iterator[None]:
    """Turn any error that Arrow raises on damaged data into one `CorpusError`."""
    try:
        yield
    except Exception as error:
        raise CorpusError(
            f"{path} is not a Parquet file or is damaged: make it again with vox2face data index."
        ) from error


def validated(table: pa.Table) -> pa.Table:
    """Return the table with its columns validated. Raises `ValueError` or Arrow's errors."""
    columns = table.select(list(COLUMNS)).cast(schema())
    columns.validate(full=True)
    if empty := [name for name in NEVER_NULL if columns[name].null_count]:
        raise ValueError(f"nulls in {', '.join(empty)}")
    return columns


def _without_roles(table: pa.Table) -> pa.Table:
    """Return a table of version 1 with the column `role` added, all null."""
    import pyarrow as pa

    return table.append_column("role", pa.nulls(table.num_rows, schema().field("role").type))


def missing(table: pa.Table) -> list[str]:
    """Return the names of the columns that a table lacks."""
    return [name for name in COLUMNS if name not in table.column_names]


def require_same(manifest: Manifest, prepared: Manifest, folder: str) -> None:
    """Raise `CorpusError` if a folder was prepared from other rows; their splits may differ."""
    for name in ("identity", "kind", "path"):
        column, prepared_column = (m.table[name].cast("string") for m in (manifest, prepared))
        if not column.equals(prepared_column):
            raise CorpusError(
                f"{folder} was prepared of another manifest ({len(prepared)} rows, given are "
                f"{len(manifest)}): use {folder}/manifest.parquet, or run vox2face data prepare "
                "again."
            )


def normalized(manifest: Manifest) -> NDArray[np.bool_]:
    """Return a mask of the rows that are normalised pictures (rows,)."""
    import pyarrow.compute as pc

    rows = pc.equal(manifest.table["role"].cast("string"), NORMALIZED)
    return np.asarray(pc.fill_null(rows, False))


def rows_of(manifest: Manifest, kind: str) -> NDArray[np.int64]:
    """Return the numbers of the rows of a kind, ascending."""
    import pyarrow.compute as pc

    rows = pc.equal(manifest.table["kind"].cast("string"), kind)
    return np.flatnonzero(rows.to_numpy()).astype(np.int64)

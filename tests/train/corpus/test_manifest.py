"""The table of a corpus, and the places it and its files may be in."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.damage import blind

from vox2face.core.errors import CorpusError, UsageError
from vox2face.train import storage
from vox2face.train.corpus import manifest

ROWS = {
    "identity": ["Zoë", "Zoë", "Abe"],
    "kind": ["voice", "face", "voice"],
    "split": ["train", "train", None],
    "root": ["/corpus"] * 3,
    "path": ["a.wav", "b.jpg", "c.wav"],
}


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest.write(manifest.from_columns(ROWS, {"summary": {"found": 3}}), tmp_path / "m.parquet")
    back = manifest.read(tmp_path / "m.parquet")
    assert back.info["summary"] == {"found": 3}
    assert back.identities() == ["Abe", "Zoë"]
    assert back.files() == ["/corpus/a.wav", "/corpus/b.jpg", "/corpus/c.wav"]
    assert back.column("duration") == [None] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_reading_a_manifest_leaves_no_threads_that_may_abort_the_process(tmp_path: Path) -> None:
    manifest.write(manifest.from_columns(ROWS), tmp_path / "m.parquet")
    code = (
        "import os, pyarrow.parquet; from vox2face.train.corpus import manifest\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count(); manifest.read('m.parquet'); print(count() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"


def test_rows_are_chosen_by_their_values() -> None:
    corpus = manifest.from_columns(ROWS)
    assert corpus.where(kind="voice", identity="Zoë").column("path") == ["a.wav"]
    assert corpus.where(split=None).column("path") == ["c.wav"]
    assert len(corpus.where(kind="film")) == 0
    with pytest.raises(UsageError, match="no column 'colour'"):
        corpus.where(colour="red")


def test_equal_manifests_give_equal_bytes(tmp_path: Path) -> None:
    corpus = manifest.from_columns(ROWS)
    manifest.write(corpus, tmp_path / "a.parquet")
    manifest.write(manifest.read(tmp_path / "a.parquet"), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_folder_stands_for_the_manifest_in_it(tmp_path: Path) -> None:
    manifest.write(manifest.from_columns(ROWS), tmp_path / manifest.FILE)
    assert len(manifest.read(tmp_path)) == 3


def test_what_is_no_manifest_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "m.parquet"
    with pytest.raises(CorpusError, match=r"There is no .*m\.parquet"):
        manifest.read(place)
    place.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(CorpusError, match=r"not a Parquet file or is damaged"):
        manifest.read(place)
    monkeypatch.setattr(manifest, "VERSION", "0")
    manifest.write(manifest.from_columns(ROWS), place)
    monkeypatch.undo()
    with pytest.raises(CorpusError, match="a manifest of version 0; expected version 2"):
        manifest.read(place)


def test_another_parquet_file_is_no_manifest(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(CorpusError, match="but no manifest"):
        manifest.read(tmp_path / "x.parquet")


def test_addresses_are_places_too() -> None:
    place = "memory://corpus/manifest.parquet"
    manifest.write(manifest.from_columns({**ROWS, "root": ["memory://corpus"] * 3}), place)
    storage.write_bytes("memory://corpus/a.wav", b"RIFF")
    back = manifest.read("memory://corpus")
    assert storage.read_bytes(back.files()[0]) == b"RIFF"
    assert storage.names("memory://corpus") == ["a.wav", "manifest.parquet"]
    assert storage.exists(place) and not storage.exists("memory://corpus/b.jpg")
    with pytest.raises(CorpusError, match=r"There is no memory://corpus/b\.jpg"):
        storage.read_bytes("memory://corpus/b.jpg")


def test_an_unknown_protocol_is_told_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"gopher://x cannot be reached"):
        storage.read_bytes("gopher://x")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "file"
    storage.write_bytes(place, b"old")

    def half() -> None:
        with storage.atomic(place) as partial:
            partial.write_bytes(b"ne")
            raise CorpusError("no more")

    with pytest.raises(CorpusError):
        half()
    assert os.listdir(tmp_path) == ["file"] and place.read_bytes() == b"old"


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a file with flipped bits, cut off, with bytes put in, or several such things."""
    data, kind = bytearray(content), rng.randrange(4)
    at = rng.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = rng.randbytes(rng.choice((1, 8, 64)))
    else:
        return blind(content, rng)
    return bytes(data)


DAMAGES = 1000
READ_DAMAGED = """
import sys
from pathlib import Path
from vox2face.core.errors import CorpusError
from vox2face.train.corpus import manifest
for place in sorted(Path(".").glob("*.parquet")):
    try:
        found = manifest.read(place)
    except CorpusError as error:
        assert "is damaged" in str(error) or "make it again" in str(error), error
        continue
    columns = {name: found.column(name) for name in manifest.COLUMNS}
    print(place, found.files(), columns, flush=True)
"""


def test_damaged_manifests_are_told_in_a_sentence_and_never_read_as_others(tmp_path: Path) -> None:
    manifest.write(manifest.from_columns(ROWS, {"made": "here"}), tmp_path / "0.parquet")
    content, rng = (tmp_path / "0.parquet").read_bytes(), random.Random(3)
    for number in range(1, DAMAGES):
        (tmp_path / f"{number}.parquet").write_bytes(damaged(content, rng))
    done = subprocess.run(
        [sys.executable, "-c", READ_DAMAGED], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    read = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert set(read.values()) == {read["0.parquet"]}  # damage where nothing is written
    assert len(read) < DAMAGES / 5


@pytest.mark.parametrize("name", ["identity", "kind", "root", "path"])
def test_a_manifest_without_a_value_that_every_row_has_is_damaged(
    tmp_path: Path, name: str
) -> None:
    rows = {**ROWS, name: [None, *ROWS[name][1:]]}
    manifest.write(manifest.from_columns(rows), tmp_path / "m.parquet")
    with pytest.raises(CorpusError, match="is damaged: make it again"):
        manifest.read(tmp_path / "m.parquet")


def test_manifests_without_checksums_are_read_too(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    manifest.write(manifest.from_columns(ROWS), tmp_path / "m.parquet")
    table = pq.read_table(tmp_path / "m.parquet")
    pq.write_table(table, tmp_path / "old.parquet", compression="zstd")
    assert (
        manifest.read(tmp_path / "old.parquet").files()
        == manifest.read(tmp_path / "m.parquet").files()
    )

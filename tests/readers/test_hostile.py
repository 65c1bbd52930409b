"""Whatever a file holds, reading it gives values or one sentence, soon and in little memory."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from helpers import seeds
from helpers.fuzz_read import read_all
from helpers.paths import HELPERS, TESTS
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2face.converters.readers.open import open_weights
from vox2face.core.errors import Vox2FaceError, WeightFileError

CORPUS = TESTS / "corpus"


def refused(path: Path) -> str:
    with pytest.raises(WeightFileError) as caught:
        read_all(path)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("w") / "w.h5"
    seeds.keras3(path, ("conv2d",))
    return path.read_bytes()


# ---------------------------------------------------------------- what is no weight file


@pytest.mark.long
def test_what_is_none_of_the_formats_is_named(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"\x08\x01")
    assert "SavedModel folder" in refused(saved)
    assert "SavedModel" in refused(saved / "saved_model.pb")
    (tmp_path / "model.index").write_bytes(bytes(300) + bytes.fromhex("57fb808b247547db"))
    assert "TensorFlow checkpoint" in refused(tmp_path / "model.index")
    (tmp_path / "model.data-00000-of-00001").write_bytes(bytes(300))
    assert "TensorFlow checkpoint" in refused(tmp_path / "model.data-00000-of-00001")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(saved / "saved_model.pb", "x")
    assert "tar archive" in refused(tmp_path / "a.tar")
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert "lists no weights" in refused(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[1, 2]")
    assert "manifest" in refused(tmp_path / "b.json")
    (tmp_path / "a.pth").write_bytes(pickle.dumps({}, protocol=4))
    assert "a Python pickle" in refused(tmp_path / "a.pth")
    torch.save({}, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    assert "state_dict()" in refused(tmp_path / "b.pth")
    np.save(tmp_path / "a.npy", seeds.BIAS)
    assert "NumPy" in refused(tmp_path / "a.npy")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["optimizer/vars/0"] = seeds.BIAS
    assert "holds no weights of Keras" in refused(tmp_path / "other.h5")


def test_every_refusal_of_a_kind_says_what_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(bytes(100))
    assert "expected a weight file of Keras (.h5, .weights.h5, .keras" in refused(tmp_path / "x.h5")


# ---------------------------------------------------------------- archives


def test_archives_without_readable_weights_are_explained(tmp_path: Path, weights: bytes) -> None:
    path = tmp_path / "m.keras"
    assert "is missing" in refused(zipped(path, {"config.json": b"{}"}))
    npz = {"config.json": b"{}", "model.weights.npz": b""}
    assert "NumPy's format" in refused(zipped(path, npz))
    assert "without weights" in refused(zipped(path, {"readme": b""}))
    zipped(path, {"model.weights.h5": weights, "other": b""})
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)
    assert "encrypted" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, weights: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("model.weights.h5", weights)
        archive.writestr("model.weights.h5", weights)
    assert "twice" in refused(tmp_path / "m.keras")


@pytest.mark.long
def test_zip_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    zipped(path, {"model.weights.h5": bytes(200 << 20)}, zipfile.ZIP_DEFLATED)
    assert "do not hold" in refused(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 200 << 20), struct.pack("<I", 1000)))
    assert "Bad CRC-32" in refused(path)


@pytest.mark.long
def test_an_archive_cut_short_at_any_place_is_refused(tmp_path: Path, weights: bytes) -> None:
    path = zipped(tmp_path / "m.keras", {"model.weights.h5": weights})
    whole = path.read_bytes()
    for length in {*range(4, len(whole), 211), len(whole) - 1}:
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.long
@pytest.mark.parametrize("link", [h5py.SoftLink("/x"), h5py.ExternalLink("/etc/passwd", "/")])
def test_links_in_keras_3_files_are_refused(tmp_path: Path, link: Any) -> None:
    for place in ("layers", "layers/conv2d", "layers/conv2d/vars", "layers/conv2d/vars/0"):
        path = tmp_path / "w.weights.h5"
        seeds.keras3(path, ("conv2d",))
        with h5py.File(path, "r+") as file:
            del file[place]
            file[place] = link
        assert type(link).__name__ in refused(path)


def test_aliases_cycles_and_other_types_in_keras_3_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    seeds.keras3(path, ("conv2d",))
    with h5py.File(path, "r+") as file:
        file["layers/again"] = file["layers"]
    assert "second name" in refused(path)
    seeds.keras3(path, ("conv2d",))
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/2"] = file["layers/conv2d/vars/1"]
    assert "second name" in refused(path)
    seeds.keras3(path, ("conv2d",))
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/2"] = np.arange(3)
    assert "expected float32" in refused(path)


def test_packed_values_stay_within_what_they_declare(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5"
    seeds.legacy(path)
    with h5py.File(path, "r+") as file:
        del file["conv/conv/bias:0"]
        file.create_dataset("conv/conv/bias:0", data=np.zeros(30 << 20, "f4"), compression="gzip")
    assert "do not hold" in refused(path)
    seeds.legacy(path, chunks=KERNEL_CHUNK, compression="gzip", only="kernel")
    import zlib

    with h5py.File(path, "r+") as file:
        packed = zlib.compress(bytes(1 << 20), 9)
        file["conv/conv/kernel:0"].id.write_direct_chunk((0, 0, 0), packed)
    assert "has a chunk of 1048576 bytes, not 96" in refused(path)
    with h5py.File(path, "r+") as file:
        file["conv/conv/kernel:0"].id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(96))[:-9])
    assert "cut short" in refused(path)


KERNEL_CHUNK = (2, 3, 4)


def test_thousands_of_tiny_chunks_are_refused(tmp_path: Path) -> None:
    seeds.legacy(tmp_path / "w.h5", chunks=(2, 1, 1), only="kernel")
    assert "few values each" in refused(tmp_path / "w.h5")


def test_a_wrong_checksum_of_a_chunk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sum.h5"
    seeds.legacy(path, chunks=KERNEL_CHUNK, fletcher32=True, only="kernel")
    assert read_all(path) == 2 * 112
    with h5py.File(path, "r+") as file:
        chunk = file["conv/conv/kernel:0"].id.read_direct_chunk((0, 0, 0))[1]
        file["conv/conv/kernel:0"].id.write_direct_chunk((0, 0, 0), chunk[:-1] + b"\x99")
    assert "checksum" in refused(path)


# ---------------------------------------------------------------- pickles


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run!",)

    def __repr__(self) -> str:
        return "Evil()"


@pytest.mark.long
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": Evil()}, "print"),
        ({"a": torch.nn.Linear(2, 2)}, "torch.nn.modules.linear.Linear"),
        ({"a": torch.ones(2, dtype=torch.int32)}, "int32"),
        ({"a": torch.ones(2, 2).to_sparse()}, "not a plain tensor"),
        ({"a": torch.ones(0)}, "empty"),
        ({"a": {"b": torch.ones(2)}, "c": {"d": torch.ones(2)}}, "2 dicts"),
        ({"a": 1}, "no dict"),
        (torch.ones(3), "no dict"),
        ({"a": torch.ones(3), (1, 2): 3}, "no dict"),
    ],
    ids=str,
)
def test_pickles_of_more_than_plain_tensors_are_refused_by_name(
    tmp_path: Path, value: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(value, tmp_path / "m.pth")
    assert words in refused(tmp_path / "m.pth")
    assert "run!" not in capsys.readouterr().out


@pytest.mark.long
def test_storages_must_be_there_and_whole(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(6.0)}, tmp_path / "m.pth")
    with zipfile.ZipFile(tmp_path / "m.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / "n.pth"
    refused(zipped(path, members | {"m/data/0": bytes(20)}))
    refused(zipped(path, {n: c for n, c in members.items() if "data/" not in n}))
    assert read_all(zipped(path, members)) == 24


@pytest.mark.long
def test_a_changed_value_of_a_state_dict_is_noticed(tmp_path: Path) -> None:
    """torch.load itself compares no checksums."""
    path = tmp_path / "m.pth"
    torch.save({"a": torch.arange(6.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(6.0).numpy().tobytes()) + 9] ^= 1
    path.write_bytes(content)
    assert "Bad CRC-32" in refused(path)


@pytest.mark.long
def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"a": torch.arange(6.0)}, tmp_path / "n.pth")
    with zipfile.ZipFile(tmp_path / "n.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = members["n/data.pkl"]
    shape = b"K\x06\x85"  # (6,)
    assert pickled.count(shape) == 1
    members["n/data.pkl"] = pickled.replace(shape, b"K\x09\x85")
    assert "resize storage" in refused(zipped(path, members))


# ---------------------------------------------------------------- lists in JSON


def manifest(folder: Path, **changes: Any) -> Path:
    weight = {"name": "a", "shape": [2], "dtype": "float32"} | changes
    (folder / "w.bin").write_bytes(bytes(8))
    path = folder / "m.json"
    path.write_text(json.dumps([{"paths": ["w.bin"], "weights": [weight]}]))
    return path


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [3]}, "do not hold"),
        ({"shape": [1]}, "have 8 bytes, its weights 4"),
        ({"shape": [-2]}, "impossible shape"),
        ({"shape": [2.0]}, "impossible shape"),
        ({"shape": [True, 2]}, "impossible shape"),
        ({"shape": [1 << 61, 1 << 61]}, "do not hold"),
        ({"shape": None}, "no shape"),
        ({"name": 3}, "without a name"),
        ({"dtype": "string"}, "expected float32"),
        ({"quantization": {"dtype": "uint8", "scale": 1}}, "unknown way"),
        ({"quantization": {"dtype": "float16", "scale": 1, "min": 0}}, "unknown way"),
        ({"name": "n" * 9000}, "more than 1000 characters"),
    ],
    ids=str,
)
def test_manifests_must_fit_their_files(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in refused(manifest(tmp_path, **changes))


@pytest.mark.long
def test_parts_are_plain_names_in_the_same_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(8))
    path = manifest(inner)
    for name in ("../w.bin", str(tmp_path / "w.bin"), "..", "", "a\\w.bin", "x\x00"):
        path.write_text(json.dumps([{"paths": [name], "weights": []}]))
        assert "not a plain file name" in refused(path)
    (inner / "link.bin").symlink_to(tmp_path / "w.bin")
    path.write_text(json.dumps([{"paths": ["link.bin"], "weights": []}]))
    assert "link to another folder" in refused(path)
    path.write_text(json.dumps([{"paths": ["gone.bin"], "weights": []}]))
    assert "missing" in refused(path)
    path.write_text(json.dumps([{"paths": ["w.bin", "w.bin"], "weights": []}]))
    assert "do not" in refused(path) or "bytes" in refused(path)


def test_an_index_of_shards_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "m-00001.safetensors"}}))
    assert "the index of weights in several files (shards)" in refused(path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("header", "words"),
    [
        ('{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}', "expected float32"),
        (
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            "a key twice",
        ),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "library refuses"),
        ("{" * 5000, "JSON"),
        ('{"a":[' + "[]," * 400_000 + "[]]}", "oversized"),
    ],
    ids=["type", "twice", "size", "deep", "many"],
)
def test_headers_of_safetensors_are_checked(tmp_path: Path, header: str, words: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(4))
    assert words in refused(path)
    path.write_bytes(struct.pack("<Q", 1 << 20) + header.encode())
    assert "cut short" in refused(path) or "oversized" in refused(path)


# ---------------------------------------------------------------- anything at all


@pytest.mark.parametrize("case", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_once_broke_the_reader_does_not_again(case: Path) -> None:
    path = next(case.glob("*.json"), None) or next(case.iterdir())
    try:
        read_all(path)
    except Vox2FaceError as error:
        assert str(case) in str(error)


def test_the_corpus_stays_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < 200_000


@pytest.mark.long
@pytest.mark.parametrize("minutes", [0.15, pytest.param(2, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_or_read_as_their_libraries_read_them(
    minutes: float, tmp_path: Path
) -> None:
    script = HELPERS / "fuzz_read.py"
    seed = int.from_bytes(os.urandom(4))
    options = ("--minutes", str(minutes), "--seed", str(seed), "--failures", str(tmp_path / "kept"))
    command = [sys.executable, str(script), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"seed {seed}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(
    content=st.binary(max_size=300),
    start=st.sampled_from([b"", b"PK\x03\x04", b"[{", b"\x89HDF\r\n\x1a\n"]),
)
def test_noise_is_refused(content: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise"
        path.write_bytes(start + content)
        with pytest.raises(WeightFileError), open_weights(path):
            pass

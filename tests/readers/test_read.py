"""Every generation of legacy Keras HDF5 is read; whatever is damaged or hostile is refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from vox2face.converters.readers.base import row_blocks
from vox2face.converters.readers.open import open_weights
from vox2face.core.errors import WeightFileError

Make = Callable[..., Path]
RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((3, 3, 2, 4)).astype(np.float32)
BIAS = RNG.standard_normal(4).astype(np.float32)
CONV = ("conv", {"conv/kernel:0": KERNEL, "conv/bias:0": BIAS})
FC = ("fc6", {"fc6/kernel:0": KERNEL[0, 0], "fc6/bias:0": BIAS})


def contents(path: Path) -> dict[str, np.ndarray]:
    with open_weights(path) as file:
        values = file.values(file.arrays)
        return {array.path: np.array(v) for array, v in zip(file.arrays, values, strict=True)}


def refused(path: Path) -> str:
    with pytest.raises(WeightFileError) as caught, open_weights(path) as file:
        file.values(file.arrays)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("below", [None, "model_weights"])
@pytest.mark.parametrize("text", [False, True])
def test_weights_lie_at_the_root_or_below_model_weights(
    handmade: Make, below: str | None, text: bool
) -> None:
    found = contents(handmade([CONV], below=below, text=text))
    assert list(found) == ["conv/conv/kernel:0", "conv/conv/bias:0"]
    assert np.array_equal(found["conv/conv/kernel:0"], KERNEL)


def test_names_split_in_numbered_parts_are_joined(handmade: Make) -> None:
    path = handmade([CONV, FC])
    with h5py.File(path, "r+") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:1], names[1:]
        weights = file["conv"].attrs["weight_names"]
        del file["conv"].attrs["weight_names"]
        file["conv"].attrs["weight_names0"] = weights[:1]
        file["conv"].attrs["weight_names1"] = weights[1:]
    assert [key.split("/")[0] for key in contents(path)] == ["conv", "conv", "fc6", "fc6"]


def test_a_slash_in_a_layer_name_nests_groups(handmade: Make) -> None:
    path = handmade([FC, ("fc6/relu", {}), ("fc6/relu/deep", {"kernel:0": BIAS})])
    assert list(contents(path)) == [
        "fc6/fc6/kernel:0",
        "fc6/fc6/bias:0",
        "fc6/relu/deep/kernel:0",
    ]


def test_order_is_that_of_layer_names_not_of_groups(handmade: Make) -> None:
    layers = [(f"conv2d_{i}", {"kernel:0": BIAS + i}) for i in (2, 10, 1)]
    assert [key.split("/")[0] for key in contents(handmade(layers))] == [
        "conv2d_2",
        "conv2d_10",
        "conv2d_1",
    ]


def test_keras_0_files_are_read_by_number(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = 2
        file.create_group("layer_0").attrs["nb_params"] = 0
        group = file.create_group("layer_1")
        group.attrs["nb_params"] = 2
        group["param_0"], group["param_1"] = KERNEL, BIAS
    assert list(contents(path)) == ["layer_1/param_0", "layer_1/param_1"]


@pytest.mark.long
@pytest.mark.parametrize(
    "storage",
    [
        {"chunks": True},
        {"compression": "gzip", "shuffle": True},
        {"compression": "gzip", "fletcher32": True},
        {"dtype": ">f4"},
        {"userblock": 512},
    ],
    ids=str,
)
def test_other_storage_gives_the_same_values(handmade: Make, storage: dict[str, object]) -> None:
    found = contents(handmade([CONV], **storage))
    assert np.array_equal(found["conv/conv/kernel:0"], KERNEL)
    assert np.array_equal(found["conv/conv/bias:0"], BIAS)


def test_values_are_maps_of_a_file_of_ours_that_a_change_of_the_source_does_not_touch(
    handmade: Make, tmp_path: Path
) -> None:
    path, folder = handmade([CONV]), tmp_path / "place"
    folder.mkdir()
    with open_weights(path) as file:
        array = file.values(file.arrays[:1], folder)[0]
        assert isinstance(array, np.memmap) and not array.flags.writeable
        os.truncate(path, 100)
        assert np.array_equal(array, KERNEL) and not list(folder.iterdir())
        with pytest.raises(WeightFileError, match="has changed while it was read"):
            file.values(file.arrays[1:], folder)
    assert not list(folder.iterdir())


def test_large_packed_arrays_are_read_in_small_blocks() -> None:
    shape = (7, 7, 512, 4096)
    blocks = list(row_blocks(shape, 1 << 24))
    sizes = [4 * np.prod([len(range(n)[s]) for s, n in zip(b, shape, strict=True)]) for b in blocks]
    assert max(sizes) <= 1 << 24
    assert sum(sizes) == 4 * np.prod(shape)


# ---------------------------------------------------------------- what is no weight file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"hello there, this is text\n", "plain text"),
        (pickle.dumps({"a": 1}), "a Python pickle"),
        (b"\x00\x01\x02\x03" * 99, "an unknown kind"),
    ],
)
def test_other_files_are_named_for_what_they_are(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "vgg_face_weights.h5"
    path.write_bytes(content)
    assert words in refused(path)


def test_zip_folder_and_missing_file_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "a zip archive" in refused(tmp_path / "model.keras")
    assert "folder" in refused(tmp_path)
    assert "no file" in refused(tmp_path / "nowhere.h5")
    assert "a device" in refused(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe.h5")
    assert "a pipe" in refused(tmp_path / "pipe.h5")


def test_hdf5_without_layer_names_is_no_weight_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = BIAS
    assert "layer_names" in refused(tmp_path / "other.h5")


@pytest.mark.long
def test_a_file_cut_short_at_any_place_is_refused(handmade: Make) -> None:
    path = handmade([CONV, FC])
    whole = path.read_bytes()
    for length in {1, 7, 8, 9, 40, *range(64, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:length])
        refused(path)


# ---------------------------------------------------------------- what is hostile


@pytest.mark.long
def test_links_are_refused_at_every_step(handmade: Make) -> None:
    for link in (h5py.SoftLink("/hidden"), h5py.ExternalLink("/etc/passwd", "/")):
        for place in ("conv", "conv/conv", "conv/conv/kernel:0"):
            path = handmade([CONV])
            with h5py.File(path, "r+") as file:
                file.move(place, "hidden")
                file[place] = link
            assert type(link).__name__ in refused(path)


def test_external_storage_is_refused(handmade: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 16)
    path = handmade([CONV])
    with h5py.File(path, "r+") as file:
        del file["conv/conv/bias:0"]
        file["conv"].create_dataset(
            "conv/bias:0", (4,), "f4", external=[(str(secret).encode(), 0, 16)]
        )
    assert "external storage" in refused(path)


def test_virtual_datasets_are_refused(handmade: Make, tmp_path: Path) -> None:
    path = handmade([CONV])
    with h5py.File(path, "r+") as file:
        del file["conv/conv/bias:0"]
        virtual = h5py.VirtualLayout((4,), "f4")
        virtual[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (4,))
        file["conv"].create_virtual_dataset("conv/bias:0", virtual)
    assert "virtual" in refused(path)


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", "S4", "O"])
def test_other_types_are_refused(handmade: Make, dtype: str) -> None:
    text = {"S4": "S4", "O": h5py.string_dtype()}
    values = np.array([b"a"], text[dtype]) if dtype in text else BIAS.astype(dtype)
    assert "expected float32" in refused(handmade([("conv", {"kernel:0": values})]))


def test_an_unusual_layout_of_float_bits_is_refused(handmade: Make) -> None:
    path = handmade([CONV])
    with h5py.File(path, "r+") as file:
        del file["conv/conv/bias:0"]
        odd = h5py.h5t.IEEE_F32LE.copy()
        odd.set_fields(0, 1, 8, 9, 23)
        h5py.h5d.create(file["conv"].id, b"conv/bias:0", odd, h5py.h5s.create_simple((4,)))
    assert "expected float32" in refused(path)


def test_a_large_user_block_is_read_and_an_empty_list_is_no_weight_file(
    handmade: Make, tmp_path: Path
) -> None:
    assert len(contents(handmade([CONV], userblock=1 << 16))) == 2
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.attrs["layer_names"] = h5py.Empty("S1")
    assert contents(tmp_path / "empty.h5") == {}


def test_sizes_the_file_does_not_hold_are_refused(handmade: Make) -> None:
    for storage in ({}, {"chunks": (1024,)}):
        path = handmade([CONV])
        with h5py.File(path, "r+") as file:
            del file["conv/conv/bias:0"]
            file["conv"].create_dataset("conv/bias:0", (1 << 40,), "f4", **storage)
        assert "not hold" in refused(path)


def test_filters_that_load_plugins_are_refused(handmade: Make) -> None:
    assert "filter" in refused(handmade([CONV], compression="lzf", chunks=True))


def test_relative_and_empty_names_are_refused(handmade: Make) -> None:
    for name in ("..", ".", "a//b", "/conv", ""):
        path = handmade([CONV])
        with h5py.File(path, "r+") as file:
            file.attrs["layer_names"] = np.array([name.encode() or b"/"])
        assert "listed" in refused(path)


def test_listed_but_absent_doubled_and_aliased_names_are_refused(handmade: Make) -> None:
    path = handmade([CONV])
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = np.array([b"conv", b"gone"])
    assert "gone is listed but is not in the file" in refused(path)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = np.array([b"conv", b"conv"])
    assert "listed twice" in refused(path)
    with h5py.File(path, "r+") as file:
        file["other"] = file["conv"]
        file.attrs["layer_names"] = np.array([b"conv", b"other"])
    assert "second name" in refused(path)


def test_floods_of_names_and_nonsense_attributes_are_refused(handmade: Make) -> None:
    path = handmade([CONV])
    with h5py.File(path.with_name("flood.h5"), "w", libver="latest") as file:
        file.attrs["layer_names"] = np.zeros(200_000, "S1")
    assert "declares" in refused(path.with_name("flood.h5"))
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = np.arange(3)
    assert "not a list of names" in refused(path)


def test_theano_files_are_refused_with_the_reason(handmade: Make) -> None:
    path = handmade([CONV])
    with h5py.File(path, "r+") as file:
        file.attrs["backend"] = b"theano"
    assert "flipped" in refused(path)


def test_a_group_in_place_of_an_array_is_refused(handmade: Make) -> None:
    path = handmade([CONV])
    with h5py.File(path, "r+") as file:
        file["conv"].attrs["weight_names"] = np.array([b"conv"])
    assert "not an array" in refused(path)

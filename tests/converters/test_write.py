"""safetensors are written block by block, checked for NaN, and read back bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from vox2face.converters import safetensors_writer as writing
from vox2face.converters.safetensors_writer import Move, compare, write
from vox2face.converters.weight_map import Rule
from vox2face.core import progress
from vox2face.core.errors import Vox2FaceError, WeightFileError

RNG = np.random.default_rng(3)


def moves() -> list[Move]:
    made = [
        ("conv/kernel", "conv.weight", "hwio_to_oihw", (3, 3, 5, 96)),
        ("conv/bias", "conv.bias", "copy", (96,)),
        ("fc6/kernel", "fc6.weight", "hwc_rows_to_oihw_7x7", (49 * 6, 130)),
        ("fc7/kernel", "fc7.weight", "io_to_oi", (130, 77)),
        ("fc8/kernel", "fc8.weight", "hwio_to_oi", (1, 1, 77, 9)),
    ]
    return [Move(Rule(*row), RNG.standard_normal(row[3]).astype(np.float32)) for row in made]


@pytest.mark.parametrize("block", [64, 5000, 1 << 23])
def test_tensors_equal_numpys_transposition(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BLOCK", block)
    path, written = tmp_path / "model.safetensors", moves()
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "advance", lambda *at: seen.append(at))
    digest = write(written, path, {"entry": "test"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    compare(written, path)
    found = load_file(path)
    assert list(found) and {m.rule.target for m in written} == set(found)
    for move in written:
        assert np.array_equal(found[move.rule.target], move.view)
        assert np.array_equal(load_torch(path)[move.rule.target].numpy(), move.view)
    size = path.stat().st_size - start_of_values(path)
    assert max(seen) == ("write", size, size) and min(seen)[0] == "compare"


def start_of_values(path: Path) -> int:
    start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert start % 64 == 0
    return start


def test_blocks_of_the_full_network_stay_below_16_mb() -> None:
    from vox2face.converters.maps.vggface_serengil import RULES

    empty = [Move(rule, np.broadcast_to(np.float32(0), rule.shape)) for rule in RULES]
    sizes = [block.source.nbytes for block in writing.blocks(empty)]
    assert max(sizes) <= 16 << 20
    assert sum(sizes) == 4 * 145_002_878


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_values_are_refused_with_their_place(tmp_path: Path, bad: float) -> None:
    made = moves()
    made[2].array[100, 7] = bad
    with pytest.raises(WeightFileError, match=r"fc6/kernel holds NaN or infinite.*\[7, "):
        write(made, tmp_path / "model.safetensors", {})


def test_compare_notices_a_single_changed_bit(tmp_path: Path) -> None:
    path, written = tmp_path / "model.safetensors", moves()
    write(written, path, {})
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(Vox2FaceError, match=r"fc8\.weight"):
        compare(written, path)
    with pytest.raises(Vox2FaceError, match="other tensors"):
        compare(written[1:], path)


def test_negative_zero_and_denormals_survive(tmp_path: Path) -> None:
    values = np.array([[-0.0, 1e-42], [0.0, -1e-45]], np.float32)
    made = [Move(Rule("a/kernel", "a", "io_to_oi", (2, 2)), values)]
    write(made, tmp_path / "a.safetensors", {})
    found = load_file(tmp_path / "a.safetensors")["a"]
    assert np.array_equal(found.view("u4"), values.T.copy().view("u4"))

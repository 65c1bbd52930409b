"""`vox2face check BUNDLE --against FILE`: two sources of one network, layer by layer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from vox2face.cli import main
from vox2face.converters.compare_sources import compare_sources
from vox2face.converters.convert import convert
from vox2face.core.entry import Entry
from vox2face.core.errors import MappingError, UsageError
from vox2face.store import bundle as bundles

NAME = "vggface.serengil"
Twin = Callable[[str], Entry]


@pytest.fixture
def bundle(
    twin: Twin,
    twin_file: Callable[..., Path],
    registered: Callable[[Entry], None],
    tmp_path: Path,
) -> bundles.Bundle:
    entry = twin(NAME)
    registered(entry)
    return bundles.read(convert(entry, twin_file(NAME), tmp_path / "made", onnx=False).path)


def changed(bundle: bundles.Bundle, path: Path, **factors: float) -> Path:
    """Write a state dict of a bundle in which some layers' kernels are scaled."""
    state = load_file(bundle.weights)
    for layer, factor in factors.items():
        state[f"{layer}.weight"] *= factor
    torch.save(state, path)
    return path


def test_the_file_that_a_bundle_was_made_of_is_equal(
    bundle: bundles.Bundle, tmp_path: Path
) -> None:
    found = compare_sources(bundle, tmp_path / f"{NAME}.h5")
    assert found.equal and found.first is None and not found.activations
    assert len(found.weights) == 32 and all(row.max_abs == 0 for row in found.weights)


def test_the_first_layer_that_computes_something_else_is_named(
    bundle: bundles.Bundle, tmp_path: Path
) -> None:
    other = changed(bundle, tmp_path / "other.pth", conv3_2=1.01, fc7=1.1)
    found = compare_sources(bundle, other)
    assert found.differing == ["conv3_2.weight", "fc7.weight"] and not found.missing
    assert found.first is not None and found.first.tap == "conv3_2"
    before = [row for row in found.activations if row.tap.startswith(("conv1", "conv2"))]
    assert before and all(row.max_abs == 0 for row in before)
    near = compare_sources(bundle, changed(bundle, tmp_path / "near.pth", fc6=1 + 1e-6))
    assert near.differing == ["fc6.weight"] and near.first is None


def test_a_classifier_that_one_of_the_two_lacks_is_left_out(
    bundle: bundles.Bundle, tmp_path: Path
) -> None:
    state = load_file(bundle.weights)
    torch.save({k: v for k, v in state.items() if "fc8" not in k}, tmp_path / "notop.pth")
    found = compare_sources(bundle, tmp_path / "notop.pth")
    assert found.equal and found.missing == ["fc8.bias", "fc8.weight"]


@pytest.mark.long
def test_two_bundles_compare_and_other_networks_are_refused(
    bundle: bundles.Bundle, twin: Twin, twin_file: Callable[..., Path], tmp_path: Path
) -> None:
    assert compare_sources(bundle, bundle.path).equal
    name = "ve_conv.speech-to-face"
    file = twin_file(name)
    other = convert(twin(name), file, tmp_path / "voice", onnx=False).path
    with pytest.raises(UsageError, match=r"is a bundle of ve_conv.speech-to-face, and"):
        compare_sources(bundle, other)
    with pytest.raises(MappingError, match=r"holds the weights of ve_conv|not the weights of"):
        compare_sources(bundle, file)


def test_the_command_prints_tables_or_json_and_fails_where_a_layer_differs(
    bundle: bundles.Bundle, tmp_path: Path
) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["check", str(bundle.path), *map(str, arguments)])
        return done.exit_code, done.output

    code, text = run("--against", tmp_path / f"{NAME}.h5")
    assert code == 0 and "All 32 tensors are equal, bit for bit." in text
    other = changed(bundle, tmp_path / "other.pth", conv3_2=1.01)
    code, text = run("--against", other)
    assert code == 1 and "1 of 32 tensors differ" in text
    assert "computes something else than" in text and "from conv3_2 on" in text
    code, text = run("--against", other, "--json")
    facts = json.loads(text[: text.rindex("}") + 1])
    assert code == 1 and facts["first"] == "conv3_2" and facts["equal"] is False
    for wrong in (("--json",), ("--against", other, "--weights", other)):
        assert run(*wrong)[0] == 2

"""What is wrong in a model of one's own is told in a sentence, and not proven."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.paths import ROOT
from torch import nn

from vox2face.converters.convert import convert
from vox2face.converters.keras.writer import random_layers, write_keras
from vox2face.converters.verify_bundle import check
from vox2face.converters.weight_map import Rule, WeightMap
from vox2face.core.entry import Architecture, Entry
from vox2face.core.errors import BundleError, UsageError, Vox2FaceError
from vox2face.store import bundle

PAGE = (ROOT / "docs" / "adding-a-model.md").read_text()
(CODE,) = re.findall(r"```python title=smallface.py\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def page() -> Any:
    """The module of docs/adding-a-model.md."""
    names: dict[str, Any] = {"__name__": "smallface"}
    exec(CODE, names)
    return SimpleNamespace(**names)


@pytest.fixture
def file(tmp_path: Path, page: Any) -> Path:
    """Weights for it in a file of Keras."""
    path = tmp_path / "small.h5"
    write_keras(path, random_layers(page.RULES, seed=1))
    return path


def with_map(page: Any, **changed: Any) -> Entry:
    model: Entry = page.MODEL
    return replace(model, weight_map=replace(model.weight_map, **changed))


def with_module(page: Any, **changed: Any) -> Entry:
    """Return the entry with methods and attributes of its module replaced."""
    model: Entry = page.MODEL
    return replace(model, architecture=Architecture(type("Other", (page.SmallFace,), changed)))


def only_embedding(reference: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def taps(*arguments: Any) -> Iterator[Any]:
        yield from (tap for tap in reference(*arguments) if tap[0] == "embedding")

    return taps


def mistyped(arrays: Any, x: Any) -> Iterator[Any]:
    yield "conv1", arrays["conv1/kernal"]


def scaled(self: Any, x: Any) -> Any:
    return self.at("embedding", x) * 3 + 1


WRONG: dict[str, tuple[Callable[[Any], Entry], str]] = {
    "no reference": (
        lambda page: with_map(page, reference=None),
        "NOT PROVEN: the file is of the format legacy Keras HDF5, and the weight map of "
        "smallface.mine has no `reference`",
    ),
    "taps that the module lacks": (
        lambda page: with_module(page, taps=only_embedding(page.SmallFace.taps)),
        "NOT PROVEN: of the taps of smallface.mine, conv1, conv2 come from",
    ),
    "an array that the map does not name": (
        lambda page: with_map(page, reference=mistyped),
        "NOT PROVEN: the reference asks for the array 'conv1/kernal', and the weight map names "
        "none so, but conv1/kernel",
    ),
    "taps that the reference lacks": (
        lambda page: with_map(page, reference=only_embedding(page.reference)),
        "NOT PROVEN: of the taps of smallface.mine, conv1, conv2 come from",
    ),
    "no taps at all": (
        lambda page: with_module(page, taps=lambda self, x: iter(())),
        "Other has no tap 'embedding'",
    ),
    "another output": (
        lambda page: with_module(page, forward=scaled),
        "returns as embedding something else than its tap embedding",
    ),
    "another width": (
        lambda page: replace(
            page.MODEL, outputs=(replace(page.MODEL.outputs[0], shape=("batch", 65)),)
        ),
        "the output embedding of smallface.mine has the shape ('batch', 64), and its entry says",
    ),
    "a second output": (
        lambda page: with_module(page, forward=lambda self, x: (x, x)),
        "The module returns 2 outputs, expected are 1: embedding",
    ),
    "an embedding without a name": (
        lambda page: with_module(page, embedding=None),
        "smallface.mine is built as Other, whose embedding has no name",
    ),
    "no taps": (
        lambda page: replace(page.MODEL, architecture=Architecture(nn.Identity)),
        "smallface.mine is built as Identity, whose embedding has no name",
    ),
    "a target that is not in the module": (
        lambda page: with_map(
            page, rules=(replace(page.RULES[0], target="conv9.weight"), *page.RULES[1:])
        ),
        "('conv9.weight' belongs to no layer; conv1.weight is missing): convert again",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("onnx", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_a_model_with_a_mistake_is_not_proven(
    case: str, onnx: bool, page: Any, file: Path, tmp_path: Path
) -> None:
    make, told = WRONG[case]
    with pytest.raises(Vox2FaceError) as caught:
        convert(make(page), file, tmp_path / "out", onnx=onnx)
    assert told in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_the_model_of_the_page_and_a_file_of_pytorch_without_a_reference_are_proven(
    page: Any, file: Path, tmp_path: Path
) -> None:
    assert (
        "PROVEN at 3 layers"
        in convert(page.MODEL, file, tmp_path / "a", onnx=False).report.verdict()
    )
    path = tmp_path / "small.pt"
    torch.save(page.SmallFace().state_dict(), path)
    done = convert(with_map(page, reference=None), path, tmp_path / "b", onnx=False)
    assert done.report.verdict() == "PROVEN: all values bit for bit."


def test_a_check_does_not_prove_either_what_nothing_is_compared_with(
    page: Any, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_map(page, reference=None)
    convert(model, file, tmp_path / "out", onnx=False, verify="none")
    made = bundle.read(tmp_path / "out")
    with pytest.raises(BundleError, match=r"out is a bundle of 'smallface\.mine'.*register"):
        check(made)
    monkeypatch.setitem(made.__dict__, "entry", model)
    with pytest.raises(Vox2FaceError, match="NOT PROVEN: the file is of the format legacy"):
        check(made)


def rules(**changed: Any) -> Mapping[str, Any]:
    one = Rule("a/kernel", "a.weight", "io_to_oi", (2, 3))
    return {"rules": (one, replace(one, **{"source": "b/kernel", "target": "b.weight", **changed}))}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (rules(op="io_to_io"), "b.weight has the op 'io_to_io': use one of copy, hwio_to_oihw"),
        (rules(op="hwio_to_oihw"), r"b.weight: hwio_to_oihw does not apply to the shape \(2, 3\)"),
        (rules(target="a.weight"), "2 rules have the target 'a.weight'"),
        (rules(source="a/kernel"), "2 rules have the source 'a/kernel'"),
        ({"match": "nam"}, "match='nam', unnamed=None: use 'name' or 'order'"),
    ],
)
def test_a_table_that_fits_no_file_is_refused_when_it_is_made(
    changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=f"The weight map of my network cannot be used: .*{told}"):
        WeightMap(**{"like": "my network", "match": "name", "rules": (), **changed})

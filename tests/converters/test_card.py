"""The model card: metadata that the hub accepts, and a text that says what people must know."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.hub_server import card_problems
from huggingface_hub import ModelCard, ModelCardData

from vox2face.converters.convert import convert
from vox2face.converters.model_card import metadata
from vox2face.core.entry import Entry
from vox2face.zoo.catalog import ENTRIES

Cards = Callable[..., str]


@pytest.fixture
def card(twin: Callable[[str], Entry], twin_file: Callable[..., Path], tmp_path: Path) -> Cards:
    """Return a function that converts a narrow network and gives the card of its bundle."""

    def make(name: str, **options: object) -> str:
        out, top = tmp_path / f"{name}-{len(options)}", bool(options.pop("top", True))
        folder = convert(twin(name), twin_file(name, top), out, **options).path  # type: ignore[arg-type]
        return (folder / "README.md").read_text(encoding="utf-8")

    return make


@pytest.mark.long
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_metadata_is_what_the_hub_expects(entry: Entry, card: Cards) -> None:
    text = card(entry.name)
    assert card_problems(text) == []
    loaded = ModelCard(text, ignore_metadata_errors=False)
    data = loaded.data
    assert isinstance(data, ModelCardData)
    licence = entry.source.licence
    assert data.license == licence.identifier
    own = licence.identifier == "other"
    assert data.license_name == (licence.name if own else None)
    assert data.license_link == (licence.url if own else None)
    assert data.library_name == "vox2face"
    tags = {"face-encoder": "image-feature-extraction", "voice-encoder": "feature-extraction"}
    assert data.pipeline_tag == tags.get(entry.kind)
    assert data.tags == [*entry.tags, "safetensors", "onnx"]
    assert data.base_model is None  # the weights of the twin are not the published ones
    assert data.to_dict()["inference"] is False
    assert entry.source.repository in loaded.text


def test_the_sources_on_the_hub_are_named_as_such() -> None:
    heads = {e.name: yaml.safe_load("\n".join(metadata(e, True, True))) for e in ENTRIES}
    assert heads["vggface.serengil"]["base_model"] == "serengil/deepface"
    assert "base_model" not in heads["vggface.rcmalli"]


def test_a_stranger_reads_what_it_is_how_to_use_it_and_what_not(card: Cards) -> None:
    text = card("vggface.serengil")
    for words in (
        'vox2face.load("hf:user/repo")  # or "path/to/this/folder"',
        "float32 (1, 256)",
        "| Preset | `deepface`: BGR",
        "| Output | `logits`: float32 (batch, 163)",
        "| PyTorch, every layer, with NumPy on the original file's own arrays | 21 | ",
        "| ONNX Runtime, `model.onnx`, with PyTorch | 1 | ",
        "PROVEN at 21 layers",
        "## Intended use",
        "## Out of scope, and limits",
        "identification, surveillance",
        "non-commercial research only",
        "Deep Face Recognition",
        "| File | `vggface.serengil.h5`, which is not the published file |",
    ):
        assert words in text, words
    assert "None" not in text and "\n\n\n" not in text


def test_without_onnx_and_proof_the_card_says_so(card: Cards) -> None:
    text = card("vggface.rcmalli", onnx=False, verify="none")
    assert "NOT PROVEN" in text and "Lowest cosine" not in text and "layer by layer" not in text
    assert "\n\n\n" not in text
    assert "- onnx\n" not in text and " ONNX" not in text


@pytest.mark.long
def test_without_a_classifier_the_card_lists_no_scores(card: Cards) -> None:
    whole = card("vggface_resnet50.rcmalli")
    bare = card("vggface_resnet50.rcmalli", top=False)
    assert "`logits`" in whole and "`logits`" not in bare
    counts = [re.search(r"Parameters \| ([0-9,]+) ", text) for text in (whole, bare)]
    more, fewer = (int(found[1].replace(",", "")) for found in counts if found)
    assert more - fewer == (512 + 1) * 2157  # the twin's classifier

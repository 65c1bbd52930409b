"""docs/zoo.md says what the catalogue says, and the catalogue says what the networks are."""

from __future__ import annotations

import re

import pytest
import torch
from helpers.paths import ROOT
from torch.utils.flop_counter import FlopCounterMode

from vox2face.cli.zoo_page import page
from vox2face.core.entry import Entry
from vox2face.zoo import registry
from vox2face.zoo.catalog import ENTRIES


def test_the_page_is_the_catalogues() -> None:
    written = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
    assert written == page(ENTRIES), "run make docs"
    for entry in ENTRIES:
        assert f"\n## {entry.name}\n" in written
    rows = [line for line in written.splitlines() if line.startswith("| [`")]
    assert [len(re.findall(r" \| ", row)) for row in rows] == [10] * len(ENTRIES)


@pytest.mark.long
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_flops_are_those_of_the_network(entry: Entry) -> None:
    with torch.device("meta"):
        network = registry.build(entry)
        picture = torch.empty([n if isinstance(n, int) else 1 for n in entry.input.shape])
        with FlopCounterMode(display=False) as counter:
            network(picture)
    assert counter.get_total_flops() == entry.flops


@pytest.mark.long
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_outputs_are_those_of_the_network(entry: Entry) -> None:
    with torch.device("meta"):
        network = registry.build(entry)
        picture = torch.empty([n if isinstance(n, int) else 2 for n in entry.input.shape])
        value = network(picture)
        shapes = [tuple(v.shape) for v in (value if isinstance(value, tuple) else (value,))]
        if network.classes:
            shapes.append(tuple(network.logits(picture).shape))
    assert shapes == [(2, *spec.shape[1:]) for spec in entry.outputs]

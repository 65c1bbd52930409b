"""While a face decoder is trained, its evaluation says what it measures and what it could not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from helpers.decoder_training import PICTURES, Corpus, settings, task_of

from vox2face.core.errors import CorpusError
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.loader import collate
from vox2face.train.decoder import validation as decoder_eval
from vox2face.train.decoder.validation import Validation
from vox2face.train.trainer import loop

PEOPLE = 2  # of the split val


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Torn:
    """Items of which some cannot be read."""

    def __init__(self, items: Any, broken: Iterable[int] = ()) -> None:
        self.items, self.broken = items, set(broken)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index in self.broken:
            raise CorpusError(f"picture {index} is torn.")
        item: dict[str, Any] = self.items[index]
        return item


def validation(broken: Iterable[int] = (), *more: str, embedding: bool = True) -> Validation:
    corpus = Corpus()
    source = FaceDecoderDataset(corpus.manifest, corpus, "val", pictures=False)  # type: ignore[arg-type]
    task = task_of(settings(*more), corpus, embedding).eval()
    return Validation(task, Torn(source, broken), source, 0, 0)


@torch.no_grad()
def measured(found: Validation) -> dict[str, float]:
    return dict(found(loop.create_accelerator(), 1))


def test_pictures_that_cannot_be_read_are_kept_with_their_reasons() -> None:
    found = validation([1])
    values = measured(found)
    assert found.failed == {1: "picture 1 is torn."}
    assert values.keys() == measured(validation()).keys()
    found.items.broken = {0, 1}
    measured(found)
    found.items.broken = set()
    measured(found)
    assert found.failed == {0: "picture 0 is torn.", 1: "picture 1 is torn."}


def test_where_no_picture_can_be_read_a_reason_is_told_before_and_while_training() -> None:
    with pytest.raises(CorpusError, match=r"^Nothing of the split 'val' can be read"):
        validation(range(PEOPLE * PICTURES))
    found = validation()
    found.items.broken = set(range(PEOPLE * PICTURES))
    with pytest.raises(CorpusError, match=r"split 'val'.*picture 0 is torn\."):
        measured(found)
    assert len(found.failed) == PEOPLE * PICTURES


@pytest.mark.parametrize("embedding", [True, False])
def test_the_loss_has_the_parts_of_training(embedding: bool) -> None:
    found = validation((), "loss.texture_weight=3", "loss.landmarks_weight=0", embedding=embedding)
    values = measured(found)
    items = [found.items[i] for i in range(len(found.items))]
    with torch.no_grad():
        parts = {name: float(value) for name, value in found.task(collate(items)).items()}
    assert parts.keys() == {"texture", *(["embedding"] if embedding else [])}
    assert {name: values[name] for name in parts} == pytest.approx(parts, rel=1e-4)
    assert values["loss"] == pytest.approx(sum(parts.values()), rel=1e-4)
    assert "landmarks" not in values and values["landmark_pixels"] > 0


def test_it_is_said_among_how_many_faces_recall_is(monkeypatch: pytest.MonkeyPatch) -> None:
    start = f"Evaluation: {PEOPLE * PICTURES} pictures of the split 'val'; val_recall is among the"
    found = validation()
    assert found.about == f"{start} mean faces of its {PEOPLE} people."
    assert measured(found)["pool"] == PEOPLE
    monkeypatch.setattr(decoder_eval, "GALLERY", 1)
    found = validation()
    assert found.about == f"{start} mean faces of the first 1 of its {PEOPLE} people."
    assert measured(found)["pool"] == 1

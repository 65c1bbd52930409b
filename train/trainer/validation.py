"""A sample of the validation split that can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vox2face.core.errors import CorpusError, Vox2FaceError
from vox2face.train.datasets.loader import Item, to_device
from vox2face.train.datasets.pairing import spread_over
from vox2face.train.outputs import require_few

if TYPE_CHECKING:
    from accelerate import Accelerator

FEW = 10  # people: guessing right among them happens by chance
TRIED = 20  # items, before a split counts as unreadable


class Readable(Dataset[tuple[int, Item | str]]):
    """Items by index with their index; in the place of one that cannot be read, the reason."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __getitem__(self, index: int) -> tuple[int, Item | str]:
        try:
            return index, self.items[index]
        except (Vox2FaceError, OSError) as error:
            return index, str(error)


def each(
    items: Any, indices: Sequence[int], size: int, workers: int
) -> Iterator[tuple[list[int], dict[str, Tensor], dict[int, str]]]:
    """Yield the items of these indices in batches: (indices, stacked values, failures)."""
    loader = DataLoader(
        Readable(items),
        batch_sampler=[list(indices[i : i + size]) for i in range(0, len(indices), size)],
        num_workers=workers,
        collate_fn=list,
        generator=torch.Generator(),
    )
    for batch in loader:
        good = [(i, item) for i, item in batch if not isinstance(item, str)]
        bad = {i: item for i, item in batch if isinstance(item, str)}
        names = good[0][1] if good else ()
        stacked = {n: torch.stack([torch.as_tensor(item[n]) for _, item in good]) for n in names}
        yield [i for i, _ in good], stacked, bad


def _require_some(items: Any, chosen: Sequence[int]) -> None:
    """Raise `CorpusError` if none of the first chosen items can be read: better now than later."""
    readable, reason = Readable(items), "it has no items"
    for index in chosen[:TRIED]:
        found = readable[index][1]
        if not isinstance(found, str):
            return
        reason = found
    raise CorpusError(f"Nothing of the split 'val' can be read, such as: {reason}")


def too_few(people: int) -> str:
    """Return a sentence if the faces of so few people tell nothing of a network, else ""."""
    if people > FEW:
        return ""
    return (
        f"There are only {people} people of the split 'val' to find faces among, too few to tell "
        "whether anything was learnt: train on more people."
    )


class ValidationSet:
    """Items of the validation split, chosen once: at most `limit` (0: all), spread over all.

    `failed` has, by their number in `items`, why some could not be read, of all evaluations so far
    and of all processes. Raises `CorpusError` at once if the first ones cannot be read, and while
    measuring if there are more than the part `most`. `what` is an item's name for people, `about`
    says what is measured, and `warning` is a sentence where the last evaluation shows that nothing
    was learnt.
    """

    what = "item"
    warning = ""

    def __init__(self, items: Any, limit: int, workers: int, most: float) -> None:
        self.items, self.workers, self.most = items, workers, most
        self.failed: dict[int, str] = {}
        self.chosen = spread_over(len(items), limit or len(items)).tolist()
        _require_some(items, self.chosen)

    @property
    def about(self) -> str:
        """What is measured, in a sentence."""
        raise NotImplementedError

    def __call__(self, accelerator: Accelerator, step: int) -> Mapping[str, float]:
        """Return what was measured by name, the same on every process."""
        raise NotImplementedError

    def batches(
        self, accelerator: Accelerator, size: int
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield this process's items in batches on its device, with their numbers."""
        share = self.chosen[accelerator.process_index :: accelerator.num_processes]
        for indices, batch, unread in each(self.items, share, size, self.workers):
            self.failed |= unread
            if indices:
                yield indices, to_device(batch, accelerator.device)

    def gathered(self, own: list[Any]) -> list[Any]:
        """Return the rows of all processes, each a tuple with the item's number first, in order."""
        from accelerate.utils import gather_object

        self.failed = dict(sorted(dict(gather_object([*self.failed.items()])).items()))
        rows = sorted(gather_object(own), key=lambda row: row[0])
        if not rows:
            reason = next(iter(self.failed.values()))
            raise CorpusError(
                f"No {self.what} of the split 'val' can be read, the first because: {reason}"
            )
        require_few(self.failed, len(self.chosen), self.most)
        return rows

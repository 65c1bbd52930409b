"""The evaluation of a face decoder while it is trained: on the pictures of the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vox2face.train.decoder.task import MOST, DecoderTask
from vox2face.train.metrics import pictures as measures
from vox2face.train.metrics import retrieval
from vox2face.train.trainer.validation import ValidationSet, too_few
from vox2face.zoo.networks.warp_tail import FaceTail

if TYPE_CHECKING:
    from accelerate import Accelerator

    from vox2face.train.datasets.face import FaceDecoderDataset
    from vox2face.train.figures.face_grid import Grid

PICTURES = 16  # decoded at a time
KS = (1, 10)
GALLERY = 5000  # people: more would take longer to rank than to decode


def unlearnt(recall: float, pictures: int, people: int) -> str:
    """Return a sentence if decoded pictures are hardly found better than by chance, else ""."""
    chance = min(1.0, KS[-1] / people)
    if chance == 1 or recall > min(2 * chance, (1 + chance) / 2):
        return too_few(people)
    return (
        f"Nothing to recognise: of {pictures:,} decoded pictures {KS[-1]} guesses among "
        f"{people:,} people find {recall:.0%}, and chance is {chance:.0%}. Train longer, or on "
        "more people."
    )


class Validation(ValidationSet):
    """Measures a task on pictures that are chosen once: at most `limit`, spread over all people.

    `items` are what the task is trained on, of the validation split, and `source` the data set
    behind them. The faces that are ranked are the mean embeddings of all its people, or of the
    first 5,000. `about` says in a sentence what is measured.
    """

    what = "picture"

    def __init__(
        self,
        task: DecoderTask,
        items: Any,
        source: FaceDecoderDataset,
        limit: int,
        workers: int,
        grid: Grid | None = None,
        spoken: Mapping[int, NDArray[np.float32]] | None = None,
        most: float = 1.0,
    ) -> None:
        super().__init__(items, limit, workers, most)
        self.task, self.grid, self.spoken = task, grid, spoken
        self.people = len(source.identities)
        pictures = (source.groups.pictures_of(who) for who in range(min(GALLERY, self.people)))
        self.faces = np.stack(
            [np.mean([source.embeddings[int(row)] for row in rows], axis=0) for rows in pictures]
        )

    @property
    def about(self) -> str:
        """What is measured, and among how many faces."""
        cut = len(self.faces) < self.people
        whose = f"the first {len(self.faces):,} of its" if cut else "its"
        return (
            f"Evaluation: {len(self.chosen):,} pictures of the split 'val'; val_recall is among "
            f"the mean faces of {whose} {self.people:,} people."
        )

    def __call__(self, accelerator: Accelerator, step: int) -> Mapping[str, float]:
        """Return loss, its parts, errors, cosine, recall and the pool, the same on every process.

        The first process draws the grid. Raises `CorpusError` if no picture can be read.
        """
        own: list[tuple[int, dict[str, float], Tensor, int]] = []
        for indices, batch in self.batches(accelerator, PICTURES):
            own += zip(indices, *self.measured(batch), batch["identity"].tolist(), strict=True)
        rows = self.gathered(own)
        if self.grid is not None and accelerator.is_main_process:
            self.grid.draw(step, lambda faces: self.decoded(faces, accelerator.device), self.spoken)
        values = {name: float(np.mean([row[1][name] for row in rows])) for name in rows[0][1]}
        embeddings, people = [row[2] for row in rows], [row[3] for row in rows]
        recalls = self.recalls(embeddings, people)
        self.warning = unlearnt(recalls[f"recall{KS[-1]}"], len(rows), len(self.faces))
        return values | recalls | {"pool": len(self.faces)}

    def measured(self, batch: dict[str, Tensor]) -> tuple[list[dict[str, float]], Tensor]:
        """Return the values of each picture, and the embeddings of the decoded ones, (n, width)."""
        raw, texture = (value.float() for value in self.task.network(batch["embedding"]))
        pictures, _, points = self.task.pictures(raw, texture)
        found = self.task.judge(pictures).float()
        true = batch["texture"].float() / MOST
        squares = (points - batch["landmarks"]).square()
        errors = {
            "landmark_pixels": squares.sum(-1).sqrt().mean(1),
            "texture_mae": measures.mean_absolute_error(texture, true),
            "ssim": measures.ssim(texture, true),
            "sharpness": measures.sharpness(texture) / measures.sharpness(true),
            "lattice": measures.lattice(texture),
            "cosine": functional.cosine_similarity(found, batch["wanted"]),
        }
        s = self.task.loss
        weighted = {
            "landmarks": (s.landmarks_weight, squares.mean((1, 2))),
            "texture": (s.texture_weight, errors["texture_mae"]),
            "ssim": (s.ssim_weight, 1 - errors["ssim"]),
            "embedding": (s.embedding_weight * self.task.embedding, 1 - errors["cosine"]),
        }
        parts = {name: weight * value for name, (weight, value) in weighted.items() if weight}
        values = {"loss": torch.stack(list(parts.values())).sum(0), **errors}
        values |= {name: value for name, value in parts.items() if name not in errors}
        lists = {name: value.tolist() for name, value in values.items()}
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)], (
            found.cpu()
        )

    def recalls(self, found: list[Tensor], people: list[int]) -> dict[str, float]:
        """Return how often the own face is among the first, of all faces of the split."""
        inside = [i for i, who in enumerate(people) if who < len(self.faces)]
        queries = torch.stack([found[i] for i in inside]).numpy()
        owners = np.array([people[i] for i in inside])
        ranks = retrieval.rank(queries, owners, self.faces, [np.arange(len(self.faces))])
        return {f"recall{k}": float(ranks.recall_at_k(k).mean()) for k in KS}

    def decoded(self, faces: NDArray[np.float32], device: torch.device) -> list[NDArray[np.uint8]]:
        """Return the pictures of embeddings (n, width), RGB uint8 (224, 224, 3)."""
        embeddings = torch.from_numpy(faces).to(device)
        exact = FaceTail(self.task.network.mean_landmarks).to(device)
        raw, texture = (value.float() for value in self.task.network(embeddings))
        shown = (exact(raw, texture)[0] * MOST + 0.5).to(torch.uint8)
        return list(shown.permute(0, 2, 3, 1).cpu().numpy())

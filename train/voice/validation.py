"""The evaluation of a voice encoder while it is trained: on the clips of the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from vox2face.train.datasets.voice import VoiceEncoderDataset
from vox2face.train.metrics import retrieval
from vox2face.train.trainer.validation import ValidationSet, too_few
from vox2face.train.voice import features

if TYPE_CHECKING:
    from accelerate import Accelerator

    from vox2face.runtime.face_decoder import FaceDecoder
    from vox2face.train.figures.face_grid import Grid
    from vox2face.train.voice.task import VoiceTask

CLIPS = 32  # embedded at a time
KS = (1, 10)
UNLEARNT = 0.47  # mean normalized_rank of the true face; 0.5 is chance


@dataclass(frozen=True, eq=False)
class Drawing:
    """Draws the faces of a grid's people: original, decoded, and decoded from their voices."""

    grid: Grid
    decoder: FaceDecoder

    def draw(self, step: int, predicted: torch.Tensor, identity: torch.Tensor) -> None:
        """Draw from embeddings (n, width) of clips; the first of each person counts."""
        who = identity.tolist()
        spoken = {i: predicted[who.index(i)].numpy() for i in self.grid.people if i in who}
        self.grid.draw(step, lambda faces: [f.pixels for f in self.decoder(faces)], spoken)


class Validation(ValidationSet):
    """Measures a task on clips that are chosen once: at most `limit`, spread over all people.

    `clips` has one item for each clip, with the mean embedding of the speaker's pictures. The
    faces that are ranked are those of all its people. The loss is that of training without the
    part that ranks, each part as the mean over batches of `batch` clips. `about` says in a
    sentence what is measured.
    """

    what = "clip"

    def __init__(
        self,
        task: VoiceTask,
        clips: VoiceEncoderDataset | features.FeatureDataset,
        limit: int,
        workers: int,
        drawing: Drawing | None = None,
        batch: int = CLIPS,
        most: float = 1.0,
    ) -> None:
        super().__init__(clips, limit, workers, most)
        self.task, self.drawing, self.batch = task, drawing, batch
        source = clips.dataset if isinstance(clips, features.FeatureDataset) else clips
        people = range(len(source.identities))
        self.faces = torch.stack([source.embedding(i, 0) for i in people]).numpy()

    @property
    def about(self) -> str:
        """What is measured, and among how many faces."""
        s = self.task.losses.settings
        ranks = s.contrastive != "none" and s.contrastive_weight
        return (
            f"Evaluation: {len(self.chosen):,} clips of the split 'val'; val_rank and val_recall "
            f"are among the mean faces of its {len(self.faces):,} people"
            f"{f'; val_loss is without {s.contrastive}' if ranks else ''}."
        )

    def __call__(self, accelerator: Accelerator, step: int) -> Mapping[str, float]:
        """Return loss, its parts, cosine, rank, recall and the pool, the same on every process.

        The rank is that of the true face in the pool, which is all faces: 0 the first and 1 the
        last; it is steadier than recall. Faces are ranked around their mean where the loss does
        so. There is no loss where the recipe only ranks. Raises `CorpusError` if no clip can be
        read.
        """
        own: list[Any] = []
        for indices, batch in self.batches(accelerator, CLIPS):
            predicted = self.task.embed(batch).float().cpu()
            target, identity = batch["embedding"].cpu(), batch["identity"].cpu()
            own += zip(indices, predicted, target, identity, strict=True)
        rows = self.gathered(own)
        predicted, target, identity = (torch.stack([row[i] for row in rows]) for i in (1, 2, 3))
        if self.drawing is not None and accelerator.is_main_process:
            self.drawing.draw(step, predicted, identity)
        parts = self.losses(predicted, target, accelerator.device)
        near = functional.cosine_similarity(predicted, target).mean()
        distance = "cosine" if self.task.losses.center is None else "centred"
        pools = [np.arange(len(self.faces))]
        ranks = retrieval.rank(predicted.numpy(), identity.numpy(), self.faces, pools, distance)
        rank = float(ranks.normalized_rank().mean())
        recall = {f"recall{k}": float(ranks.recall_at_k(k).mean()) for k in KS}
        self.warning = too_few(len(self.faces))
        if rank > UNLEARNT:
            self.warning = (
                f"Nothing was learnt: the true face stands at {rank:.0%} of the ranking on "
                f"average, and chance is 50%. Train longer, or on more people."
            )
        loss = {"loss": sum(parts.values()), **parts} if parts else {}
        return {**loss, "cosine": float(near), "rank": rank, **recall, "pool": len(self.faces)}

    def losses(
        self, predicted: torch.Tensor, target: torch.Tensor, device: torch.device
    ) -> dict[str, float]:
        """Return the loss parts that compare with the own target, as the mean over batches."""
        sums: dict[str, float] = {}
        for first in range(0, len(predicted), self.batch):
            rows = slice(first, first + self.batch)
            found = self.task.losses.regression(predicted[rows].to(device), target[rows].to(device))
            share = len(predicted[rows]) / len(predicted)
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value) * share
        return sums

"""A face decoder as a task of the training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vox2face.train.decoder.loss import landmarks_mse, negative_cosine, texture_mae
from vox2face.train.trainer.task import Task, freeze
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.networks.warp_tail import FaceTail

if TYPE_CHECKING:
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.train.decoder.recipe import Loss
    from vox2face.zoo.networks.face_decoder import FaceDecoder

MOST = 255.0
STEP = 4  # pixels: in training the warp is computed as coarsely as that


class Judge(nn.Module):
    """A frozen face encoder: pictures float32 (n, 3, height, width), 0..1, to embeddings.

    Gradients flow through it to the pictures; its own parameters take none. What Pillow rounds to
    whole grey levels is left as it is.
    """

    def __init__(self, encoder: FaceEncoder) -> None:
        super().__init__()
        self.network = freeze(encoder.module)
        self.frontend = FaceInput(encoder.frontend.preset, encoder.frontend.size, smooth=True)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the embeddings (n, width)."""
        x = self.frontend(picture.permute(0, 2, 3, 1) * MOST)
        return cast(Tensor, self.network(x))


class DecoderTask(Task):
    """A face decoder, its warp, and the face encoder that judges its pictures.

    A batch has "embedding" (n, width), "landmarks" (n, 68, 2) and "texture", uint8
    (n, 3, 224, 224); and, with morphs, "morphed" (n,): where it is true, the embedding is that of
    the texture warped to the landmarks. A decoder that does not warp gets its pictures as textures.
    """

    def __init__(self, network: FaceDecoder, loss: Loss, judge: Judge, embedding: bool) -> None:
        super().__init__()
        self.network, self.loss, self.judge = network, loss, judge
        self.tail = FaceTail(network.mean_landmarks, step=STEP)
        self.embedding = embedding and loss.embedding_weight > 0

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the loss parts of a batch."""
        texture, landmarks = batch["texture"].float() / MOST, batch["landmarks"]
        embedding = self.embeddings(batch, texture, landmarks)
        raw, predicted = (value.float() for value in self.network(embedding))
        s, parts = self.loss, {}
        if s.landmarks_weight:
            points = self.tail.points(raw)
            parts["landmarks"] = s.landmarks_weight * landmarks_mse(points, landmarks)
        if s.texture_weight:
            parts["texture"] = s.texture_weight * texture_mae(predicted, texture)
        if self.embedding:
            picture, _, _ = self.pictures(raw, predicted)
            found = self.judge(picture).float()
            parts["embedding"] = s.embedding_weight * negative_cosine(found, embedding)
        return parts

    def pictures(self, raw: Tensor, texture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures, textures, and landmarks; the spline always computes in float32."""
        with torch.autocast(raw.device.type, enabled=False):
            found: tuple[Tensor, Tensor, Tensor] = self.tail(raw.float(), texture.float())
        return found

    def embeddings(self, batch: dict[str, Any], texture: Tensor, landmarks: Tensor) -> Tensor:
        """Return the embeddings, those of morphs computed from their pictures."""
        embedding: Tensor = batch["embedding"]
        if "morphed" not in batch or not batch["morphed"].any():
            return embedding
        new = batch["morphed"]
        with torch.no_grad():
            shown = self.pictures(landmarks[new].flatten(1), texture[new])[0]
            return embedding.index_put((new,), self.judge(shown).to(embedding.dtype))

    def trained(self) -> dict[str, nn.Module]:
        """Return the decoder."""
        return {"network": self.network}

    def frozen(self) -> list[nn.Module]:
        """Return the face encoder."""
        return [self.judge]

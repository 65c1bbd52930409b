"""A face decoder as a task of the training loop."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vox2face.core.errors import UsageError
from vox2face.train.decoder import loss as losses
from vox2face.train.decoder.critic import Critic
from vox2face.train.trainer.task import Task, freeze
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.networks.face_decoder import FaceDecoder
from vox2face.zoo.networks.upsampling_decoder import UpsamplingDecoder
from vox2face.zoo.networks.warp_tail import FaceTail

if TYPE_CHECKING:
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.train.decoder.recipe import Loss

Decoder = FaceDecoder | UpsamplingDecoder
MOST = 255.0
NEAR = 10.0  # pixels: how far around landmarks the face is weighted
FACE_POINTS = slice(17, 68)  # without the jaw
STEP = 4  # pixels: in training the warp is computed as coarsely as that


class FrozenFaceEncoder(nn.Module):
    """A frozen face encoder: pictures float32 (n, 3, height, width), 0..1, to embeddings.

    Gradients flow through it to the pictures; its own parameters take none. What Pillow rounds to
    whole grey levels is left as it is.
    """

    def __init__(self, encoder: FaceEncoder) -> None:
        super().__init__()
        self.network: Any = freeze(encoder.module)
        self.frontend = FaceInput(encoder.frontend.preset, encoder.frontend.size, smooth=True)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the embeddings (n, width)."""
        return cast(Tensor, self.network(self.prepared(picture)))

    def prepared(self, picture: Tensor) -> Tensor:
        """Return what the network takes."""
        return cast(Tensor, self.frontend(picture.permute(0, 2, 3, 1) * MOST))

    def seen(self, picture: Tensor, names: Collection[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the embeddings, and the activations of these names."""
        if not names:
            return self(picture), {}
        found = dict(self.network.taps(self.prepared(picture)))
        return found[self.network.embedding], {name: found[name] for name in names}

    def require_taps(self, names: Collection[str]) -> None:
        """Raise `UsageError` for activations that the network does not have."""
        if not names:
            return
        side = self.frontend.size
        with torch.no_grad():
            known = dict(self.network.taps(self.prepared(torch.zeros(1, 3, side, side))))
        for name in names:
            if name not in known:
                raise UsageError(
                    f"loss.features names {name!r}, which the face encoder has not: use some of "
                    f"{', '.join(known)}."
                )


class DecoderTask(Task):
    """A face decoder, its warp, and the face encoder that judges its pictures.

    A batch has "embedding" (n, width), "wanted" (n, width), the embedding of the picture to draw,
    "landmarks" (n, 68, 2) and "texture", uint8 (n, 3, 224, 224); and, with morphs, "morphed" (n,):
    where it is true, the embedding is that of the texture warped to the landmarks. A decoder that
    does not warp gets its pictures as textures.
    """

    def __init__(
        self,
        network: Decoder,
        loss: Loss,
        judge: FrozenFaceEncoder,
        embedding: bool,
        critic_lr: float = 0.0,
        shape: Tensor | None = None,
    ) -> None:
        """Take what is trained; `shape` (68, 2) is where faces are, for weights of places."""
        super().__init__()
        self.network, self.loss, self.judge = network, loss, judge
        self.tail = FaceTail(network.mean_landmarks, step=STEP)
        self.embedding = embedding and loss.embedding_weight > 0
        self.features = loss.features if embedding and loss.features_weight > 0 else ()
        self.critic_lr = critic_lr
        self.critic = Critic() if critic_lr and loss.adversarial_weight else None
        self.places: Tensor
        self.register_buffer("places", face_weights(shape, loss.face_weight), persistent=False)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the loss parts of a batch."""
        texture, landmarks = batch["texture"].float() / MOST, batch["landmarks"]
        embedding = self.embeddings(batch, texture, landmarks)
        raw, predicted = (value.float() for value in self.network(embedding))
        s, parts = self.loss, {}
        if s.landmarks_weight:
            points = self.tail.points(raw)
            parts["landmarks"] = s.landmarks_weight * losses.landmarks_mse(points, landmarks)
        if s.texture_weight:
            error = losses.texture_mae(predicted, texture, self.places)
            parts["texture"] = s.texture_weight * error
        if s.laplacian_weight:
            parts["laplacian"] = s.laplacian_weight * losses.laplacian(predicted, texture)
        if s.ssim_weight:
            parts["ssim"] = s.ssim_weight * losses.structural_difference(predicted, texture)
        if self.embedding or self.features:
            wanted = embedding if "morphed" in batch else batch["wanted"]
            parts |= self.judged(raw, predicted, wanted, texture)
        if self.critic is not None:
            drawn, true = cut(predicted, texture, s.judged or len(raw))
            parts["critic"] = self.critic.hinge(drawn, true)
            parts["adversarial"] = s.adversarial_weight * self.critic.fooled(drawn)
        return parts

    def judged(
        self, raw: Tensor, predicted: Tensor, wanted: Tensor, texture: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss parts of the face encoder; it sees the first `judged` of the batch."""
        s, n = self.loss, self.loss.judged or len(raw)
        picture, _, _ = self.pictures(raw[:n], predicted[:n])
        found, activations = self.judge.seen(picture, self.features)
        parts = {}
        if self.embedding:
            apart = losses.negative_cosine(found.float(), wanted[:n])
            parts["embedding"] = s.embedding_weight * apart
        if self.features:
            with torch.no_grad():
                _, true = self.judge.seen(texture[:n], self.features)
            parts["features"] = s.features_weight * losses.features_mae(activations, true)
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
        """Return the decoder, and the critic if there is one."""
        critic = {} if self.critic is None else {"critic": self.critic}
        return {"network": self.network, **critic}

    def groups(self) -> list[dict[str, Any]]:
        """Return the decoder's parameters, and the critic's with their own rate."""
        own: list[dict[str, Any]] = [{"params": list(self.network.parameters())}]
        if self.critic is not None:
            own.append({"params": list(self.critic.parameters()), "lr": self.critic_lr})
        return own

    def frozen(self) -> list[nn.Module]:
        """Return the face encoder."""
        return [self.judge]


def cut(drawn: Tensor, true: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return a random square of half the side of the first pictures, the same of both."""
    half = drawn.shape[-1] // 2
    top, left = torch.randint(0, half + 1, (2,)).tolist()
    here = (slice(count), slice(None), slice(top, top + half), slice(left, left + half))
    return drawn[here], true[here]


def face_weights(shape: Tensor | None, most: float, side: int = 224) -> Tensor:
    """Return weights of places (side, side) of mean 1: near eyes, nose and mouth up to 1 + `most`.

    `shape` (68, 2) is where the landmarks are on average, in pixels.
    """
    if shape is None or not most:
        return torch.ones(side, side)
    line = torch.arange(float(side))
    apart = torch.cdist(torch.cartesian_prod(line, line).flip(1), shape[FACE_POINTS].cpu())
    weights = 1 + most * torch.exp(-0.5 * (apart.amin(1) / NEAR) ** 2)
    return (weights / weights.mean()).reshape(side, side)

"""A voice encoder as a task of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vox2face.train.trainer.distributed import whole_batch
from vox2face.train.trainer.task import Augment, Task
from vox2face.train.voice import network as voice_network
from vox2face.train.voice.channel import transmitted
from vox2face.train.voice.data import augmented
from vox2face.train.voice.loss import VoiceLosses
from vox2face.zoo.frontends.voice import voice_frontend

if TYPE_CHECKING:
    from vox2face.train.voice.recipe import Channel, VoicePhase
    from vox2face.zoo.networks.base import Tapped


class VoiceTask(Task):
    """A voice encoder, its front end and its loss.

    A batch has "waveform" (n, samples), levelled and of one length, or "features" (n, values),
    what the frozen backbone makes of it; and "embedding" (n, width) and "identity" (n,).
    """

    def __init__(
        self,
        network: Tapped,
        preset: str,
        losses: VoiceLosses,
        phase: VoicePhase,
        gain: float = 0.0,
        noise: float = 0.0,
        channel: Channel | None = None,
    ) -> None:
        super().__init__()
        self.network, self.losses = network, losses
        self.frontend = voice_frontend(preset, getattr(network, "frames", None))
        self.rates, self.gain, self.noise = (phase.lr, phase.backbone_lr), gain, noise
        self.channel = channel

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the loss parts of the whole batch, over the rows of all processes."""
        if self.channel and "waveform" in batch:
            batch = {**batch, "waveform": self.recorded(batch["waveform"])}
        predicted = whole_batch(self.embed(batch).float())
        target, identity = whole_batch(batch["embedding"]), whole_batch(batch["identity"])
        with torch.autocast(predicted.device.type, enabled=False):
            parts: dict[str, Tensor] = self.losses(predicted, target, identity)
        return parts

    def embed(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the predicted embeddings (n, width)."""
        if "features" in batch:
            finish = voice_network.anatomy(self.network).finish
            assert finish is not None
            return finish(self.network, batch["features"])
        embeddings: Tensor = self.network(self.spectrogram(batch["waveform"]))
        return embeddings

    def recorded(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return waveforms as other rooms and devices record them, in float32.

        Without a generator the numbers are torch's own, which the loop seeds for each step.
        """
        if not self.channel:
            return waveform
        with torch.autocast(waveform.device.type, enabled=False):
            return transmitted(waveform.float(), self.channel, generator)

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Return what the network takes in; the front end always computes in float32."""
        with torch.autocast(waveform.device.type, enabled=False):
            x: Tensor = self.frontend(waveform.float())
        return x

    def backbone(self, waveform: Tensor) -> Tensor:
        """Return the backbone's features of waveforms."""
        return self.network.at(
            voice_network.anatomy(self.network).feature_layer, self.spectrogram(waveform)
        )

    def trained(self) -> dict[str, nn.Module]:
        """Return the network, and the classes of AM-softmax if there are any."""
        classes = self.losses.classes
        return {"network": self.network, **({"classes": classes} if classes is not None else {})}

    def frozen(self) -> list[nn.Module]:
        """Return the networks that only judge, and what of the own one a phase does not train."""
        return [*self.losses.frozen(), *voice_network.untrained(self.network)]

    def groups(self) -> list[dict[str, Any]]:
        """Return head, body, and the classes of AM-softmax."""
        groups = voice_network.parameter_groups(self.network, *self.rates)
        return [*groups, {"params": [p for p in self.losses.parameters() if p.requires_grad]}]

    def augment(self) -> Augment | None:
        """Return what changes gain and noise, if the recipe wants it."""
        if not self.gain and not self.noise:
            return None
        return lambda item, random: augmented(item, random, self.gain, self.noise)

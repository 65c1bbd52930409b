"""Voice encoders: recordings of speech to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice

import numpy as np
import torch
from torch import Tensor

from vox2face.core.errors import UsageError
from vox2face.media import audio as sound
from vox2face.media.audio import Audio
from vox2face.runtime.base import Embeddings, Loaded, listed, normalized
from vox2face.zoo.frontends.voice import VoiceInput
from vox2face.zoo.preprocessing import heard
from vox2face.zoo.presets import voice_preset


class VoiceEncoder(Loaded):
    """A voice encoder with its preprocessing attached: recordings in, embeddings out.

    `frontend` is a torch module that turns 16 kHz waveforms (n, samples), levelled and of the
    length the preset states, into what `module` takes.
    """

    def prepare(self) -> None:
        """Make what stands around the network."""
        preset = voice_preset(self.preset)
        self.whole_input = VoiceInput(preset, heard(self.entry)).eval().to(self.here)
        self.frontend = self.whole_input.frontend

    def __call__(
        self,
        recordings: Audio | Sequence[Audio],
        rate: int | None = None,
        normalize: bool = False,
        batch_size: int = 8,
    ) -> Embeddings:
        """Return the embeddings of recordings, float32 (n, width).

        `recordings` is one recording or several: paths, open files, or arrays of samples with
        their `rate` in Hz. Each is mixed to mono, resampled to 16 kHz, levelled, and cut or
        repeated as the preset states. `normalize=True` divides each embedding by its length.
        Raises `AudioError` for what is no speech of 0.1 s or more.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: it must be at least 1.")
        parts = [np.empty((0, self.width), np.float32)]
        inputs = (self.preprocess(item, rate) for item in listed(recordings))
        for _, alike in groupby(inputs, key=lambda x: x.shape):
            while some := list(islice(alike, batch_size)):
                parts.append(self.embed(some))
        embeddings = np.concatenate(parts)
        return normalized(embeddings) if normalize else embeddings

    def preprocess(self, recording: Audio, rate: int | None = None) -> Tensor:
        """Return what the network takes for one recording, (1, ...), after the preset."""
        waveform = torch.from_numpy(sound.decode(recording, rate)[None]).to(self.here)
        with torch.no_grad():
            x: Tensor = self.whole_input(waveform)
        return x

    def embed(self, inputs: Sequence[Tensor]) -> Embeddings:
        """Return the embeddings of preprocessed recordings, float32 (n, width)."""
        return self.run(torch.cat(list(inputs)))[0]

"""Face decoders: embeddings to faces."""

from __future__ import annotations

import numpy as np
import torch

from vox2face.core.errors import UsageError
from vox2face.media.decoded_face import Face
from vox2face.runtime.base import Embeddings, Loaded
from vox2face.zoo.networks.warp_tail import FaceTail, stored_tail


class FaceDecoder(Loaded):
    """A face decoder: embeddings in, faces out.

    `module` gives raw landmarks and textures; `tail` is the torch module behind it, which clips
    textures to 0..1, reduces landmarks to 68 and warps, if this decoder warps.
    """

    def prepare(self) -> None:
        """Make what stands around the network."""
        if self.bundle is None:
            tail = FaceTail(getattr(self.module, "mean_landmarks", None)).eval()
        else:
            tail = stored_tail(self.bundle.weights)
        self.tail = tail.to(self.here)

    @property
    def warps(self) -> bool:
        """Whether the texture is warped to the landmarks; if not, it is the picture."""
        return self.tail.warp is not None

    def __call__(self, embeddings: Embeddings, batch_size: int = 8) -> list[Face]:
        """Return one face for each embedding, float32 (n, width) or (width,).

        Raises `UsageError` for embeddings of another width, or with values that are not finite.
        """
        values = np.atleast_2d(np.asarray(embeddings, np.float32))
        if values.ndim != 2 or values.shape[1] != self.width or not np.isfinite(values).all():
            raise UsageError(
                f"{self.entry.name} takes finite embeddings of {self.width} values, float32 "
                f"(n, {self.width}); these have the shape {values.shape}."
            )
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}: it must be at least 1.")
        starts = range(0, len(values), batch_size)
        return [f for i in starts for f in self.faces(values[i : i + batch_size])]

    def faces(self, embeddings: Embeddings) -> list[Face]:
        """Return one face for each embedding of a batch."""
        raw = self.run(torch.from_numpy(np.ascontiguousarray(embeddings)))
        with torch.inference_mode():
            made = self.tail(*(torch.from_numpy(value).to(self.here) for value in raw))
        parts = (value.cpu().numpy() for value in made)
        return [Face(*facts) for facts in zip(*parts, embeddings.copy(), strict=True)]

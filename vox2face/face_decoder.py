"""Face decoders: embeddings to faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.bundle import Bundle
from vox2face.errors import UsageError
from vox2face.face import Face
from vox2face.loaded import Embeddings, Loaded
from vox2face.spec import Entry

if TYPE_CHECKING:
    import onnxruntime
    from torch import nn


class FaceDecoder(Loaded):
    """A face decoder: embeddings in, faces out.

    `module` gives raw landmarks and textures; `tail` is the torch module behind it, which clips
    textures to 0..1, reduces landmarks to 68 and warps, if this decoder warps.
    """

    def __init__(
        self,
        entry: Entry,
        preset: str,
        device: str,
        *,
        module: nn.Module | None = None,
        session: onnxruntime.InferenceSession | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        from vox2face.zoo.face_tail import FaceTail

        super().__init__(entry, preset, device, module=module, session=session, bundle=bundle)
        self.tail = FaceTail(mean_landmarks(module, bundle)).eval().to(self.here)

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
        import torch

        raw = [torch.from_numpy(value).to(self.here) for value in self.run_on(embeddings)]
        with torch.inference_mode():
            images, textures, landmarks = (value.cpu().numpy() for value in self.tail(*raw))
        return [
            Face(image, texture, points, embedding.copy())
            for image, texture, points, embedding in zip(
                images, textures, landmarks, embeddings, strict=True
            )
        ]

    def run_on(self, embeddings: Embeddings) -> tuple[NDArray[np.float32], ...]:
        """Return raw landmarks (n, 2 points) and textures (n, 3, 224, 224)."""
        import torch

        return self.run(torch.from_numpy(np.ascontiguousarray(embeddings)))


def mean_landmarks(module: nn.Module | None, bundle: Bundle | None) -> Any:
    """Return a decoder's mean landmarks, float32 tensor (68, 2), or None if it does not warp."""
    if module is not None:
        return getattr(module, "mean_landmarks", None)
    from safetensors import safe_open

    assert bundle is not None
    with safe_open(bundle.weights, framework="pt") as file:
        names = file.keys()
        return file.get_tensor("mean_landmarks") if "mean_landmarks" in names else None

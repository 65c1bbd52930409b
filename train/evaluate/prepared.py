"""A prepared corpus as arrays with a row for each row of the manifest."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError
from vox2face.train import storage
from vox2face.train.evaluate.test_set import Rows
from vox2face.train.prepare import reader, rows

if TYPE_CHECKING:
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.train.corpus.manifest import Manifest


class PreparedArrays:
    """The prepared arrays of a manifest's pictures; see `test_set.Arrays`.

    Raises `CorpusError` for a folder that was prepared from another manifest.
    """

    def __init__(self, folder: storage.PathOrUri, manifest: Manifest) -> None:
        self.source = reader.open_prepared(folder)
        names = ["identity", "kind", "path"]
        given, prepared = (m.table.select(names) for m in (manifest, self.source.manifest))
        if not given.equals(prepared):
            raise CorpusError(
                f"{folder} was prepared of another manifest ({len(self.source.manifest)} rows, "
                f"given are {len(manifest)}): name {folder}/manifest.parquet, or prepare again."
            )
        self.count = len(manifest)

    def chosen(self, name: str | None) -> str:
        """Return the name of a face encoder that was prepared; None is the first one."""
        self.source.faces(name)
        return name or self.source.encoders[0]

    @functools.cache  # noqa: B019  (one evaluation makes one of these)
    def faces(self, name: str) -> Rows:
        """Return a network's embeddings (rows, width), NaN where there is none."""
        return self.whole(self.source.faces(name))

    def space(self, name: str) -> Space:
        """Return the space of a network's embeddings."""
        return self.source.space(name)

    @functools.cache  # noqa: B019
    def landmarks(self) -> Rows | None:
        """Return landmarks (rows, 68, 2), NaN where there are none; None if none were found."""
        if "landmarks" not in self.source.facts["stages"]:
            return None
        return self.whole(self.source.landmarks)

    def whole(self, stage: rows.Rows) -> Rows:
        """Return an array of a stage with a row for each of the manifest."""
        rows, values = stage.all()
        table = np.full((self.count, *values.shape[1:]), np.nan, np.float32)
        table[rows] = values
        return table

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return a picture as the decoder is trained on it, RGB uint8 (224, 224, 3)."""
        return self.source.picture(row)

    def encoder(self, name: str, device: str) -> FaceEncoder:
        """Load a network with the preprocessing of the prepared embeddings."""
        return self.source.encoder(name, device)

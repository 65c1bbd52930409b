"""Faces with their embeddings, for the face decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vox2face.train.corpus.groups import people
from vox2face.train.corpus.manifest import Manifest
from vox2face.train.datasets.files import Files, Item, as_float, as_picture, left_out, unusable

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared


class FaceDecoderDataset(Dataset[Item]):
    """Pictures with their embedding, landmarks and texture, for training a face decoder.

    Item `i` is a dict:

    | key       | type    | shape         | what |
    |-----------|---------|---------------|---|
    | embedding | float32 | (width,)      | the face encoder's |
    | landmarks | float32 | (68, 2)       | (x, y) in pixels of the picture |
    | texture   | uint8   | (3, 224, 224) | the picture warped to the mean landmarks, RGB |
    | picture   | uint8   | (3, 224, 224) | the picture, RGB |
    | identity  | int64   | ()            | number of the person in `identities` |
    | row       | int64   | ()            | row of the picture in the manifest |

    Pictures of `split` (None: of the whole manifest) that were prepared without failure are in it,
    ordered by name and path, whether their people have clips or not. `left_out` counts the files
    of the split that were not, or whose embedding or landmarks are not finite. Divide `texture` and
    `picture` by 255 on the device. `pictures=False` leaves out `picture`, and reads none. A
    picture that cannot be read raises `CorpusError`; with `on_error="skip"` the person's next
    picture takes its place, and `failed()` tells which did.
    """

    def __init__(
        self,
        manifest: Manifest,
        prepared: Prepared,
        split: str | None = "train",
        *,
        face: str | None = None,
        pictures: bool = True,
        on_error: str = "raise",
    ) -> None:
        self.prepared, self.embeddings = prepared, prepared.faces(face)
        self.pictures = pictures
        stages = (self.embeddings, prepared.landmarks, prepared.textures)
        bad = unusable(prepared, manifest, *stages)
        self.left_out = left_out(manifest, split, bad)
        self.identities, self.groups = people(manifest, split, bad, voices=False)
        self.files = Files(manifest, self.groups.pictures, on_error)

    def __len__(self) -> int:
        return len(self.groups.pictures)

    def failed(self) -> list[str]:
        """Return the pictures that could not be read so far, in any worker."""
        return self.files.failed()

    def __getitem__(self, index: int) -> Item:
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} pictures, none of number {index}.")
        starts = self.groups.first_picture
        identity = int(np.searchsorted(starts, index, side="right")) - 1
        first, end = int(starts[identity]), int(starts[identity + 1])
        shown = {}
        if self.pictures:
            index, picture = self.files.usable(index, first, end, self.picture)
            shown["picture"] = as_picture(picture)
        row = int(self.groups.pictures[index])
        return {
            "embedding": as_float(self.embeddings[row]),
            "landmarks": as_float(self.prepared.landmarks[row]),
            "texture": as_picture(self.prepared.textures[row]),
            **shown,
            "identity": torch.tensor(identity),
            "row": torch.tensor(row),
        }

    def picture(self, row: int, place: str) -> NDArray[np.uint8]:
        """Return a picture as the landmarks count it, RGB uint8 (224, 224, 3)."""
        return self.prepared.picture(row)

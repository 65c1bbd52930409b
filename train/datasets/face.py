"""Faces with their embeddings, for the face decoder.

A decoder's input is the embedding of a photograph. It learns to draw the normalised picture of the
same person or, where there is none, the photograph itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vox2face.train.corpus.groups import Groups, people
from vox2face.train.corpus.manifest import Manifest, normalized
from vox2face.train.datasets.files import Files, Item, as_float, as_picture, left_out, unusable

if TYPE_CHECKING:
    from vox2face.train.prepare.reader import Prepared


class FaceDecoderDataset(Dataset[Item]):
    """Embeddings of photographs with the pictures to draw, for training a face decoder.

    Item `i` is a dict:

    | key       | type    | shape         | what |
    |-----------|---------|---------------|---|
    | embedding | float32 | (width,)      | the face encoder's, of a photograph |
    | wanted    | float32 | (width,)      | the same of the picture to draw |
    | landmarks | float32 | (68, 2)       | its landmarks, (x, y) in its pixels |
    | texture   | uint8   | (3, 224, 224) | the picture warped to the mean landmarks, RGB |
    | picture   | uint8   | (3, 224, 224) | the picture to draw, RGB |
    | identity  | int64   | ()            | number of the person in `identities` |
    | row       | int64   | ()            | row of the photograph in the manifest |

    The picture to draw is the person's normalised one (several in turn), or the
    photograph itself where there is none. Photographs of `split` (None: of the whole manifest) that
    were prepared without failure are in it, ordered by name and path, whether their people have
    clips or not. `left_out` counts the files of the split that failed, or whose embedding or
    landmarks are not finite. Divide `texture` and `picture` by 255 on the device. `pictures=False`
    leaves out `picture`, and reads none; `textures=False` leaves out `texture`. A picture that
    cannot be read raises `CorpusError`.
    """

    def __init__(
        self,
        manifest: Manifest,
        prepared: Prepared,
        split: str | None = "train",
        *,
        face: str | None = None,
        pictures: bool = True,
        textures: bool = True,
    ) -> None:
        self.prepared, self.embeddings = prepared, prepared.faces(face)
        self.pictures, self.textures = pictures, textures
        stages = [self.embeddings, prepared.landmarks, *([prepared.textures] if textures else [])]
        bad = unusable(prepared, manifest, *stages)
        bad = np.union1d(bad, _without_target(manifest, bad))
        self.left_out = left_out(manifest, split, bad)
        self.identities, self.groups = people(manifest, split, bad, voices=False)
        self.targets = targets(manifest, self.identities, self.groups, bad)
        self.files = Files(manifest, self.targets)

    def __len__(self) -> int:
        return len(self.groups.pictures)

    def __getitem__(self, index: int) -> Item:
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} pictures, none of number {index}.")
        starts = self.groups.first_picture
        identity = int(np.searchsorted(starts, index, side="right")) - 1
        images = {}
        if self.pictures:
            images["picture"] = as_picture(self.files.load(index, self.picture))
        row, target = int(self.groups.pictures[index]), int(self.targets[index])
        if self.textures:
            images["texture"] = as_picture(self.prepared.textures[target])
        return {
            "embedding": as_float(self.embeddings[row]),
            "wanted": as_float(self.embeddings[target]),
            "landmarks": as_float(self.prepared.landmarks[target]),
            **images,
            "identity": torch.tensor(identity),
            "row": torch.tensor(row),
        }

    def picture(self, row: int, path: str) -> NDArray[np.uint8]:
        """Return the picture that the landmarks refer to, RGB uint8 (224, 224, 3)."""
        return self.prepared.picture(row)


def _without_target(manifest: Manifest, bad: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of people whose normalised pictures are all bad."""
    normal = np.flatnonzero(normalized(manifest))
    if not len(normal):
        return normal
    names = np.array(manifest.column("identity"), object)
    lost = set(names[normal]) - set(names[np.setdiff1d(normal, bad)])
    return np.flatnonzero([name in lost for name in names])


def targets(
    manifest: Manifest, identities: list[str], groups: Groups, bad: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the row of the picture to draw for each photograph of `groups` (photographs,)."""
    rows = np.setdiff1d(np.flatnonzero(normalized(manifest)), bad)
    number = {name: i for i, name in enumerate(identities)}
    names = manifest.table["identity"].cast("string").take(rows).to_pylist()
    normal_rows: dict[int, list[int]] = {}
    for row, name in zip(rows.tolist(), names, strict=True):
        if name in number:
            normal_rows.setdefault(number[name], []).append(row)
    target_rows = groups.pictures.copy()
    for i, candidates in normal_rows.items():
        first, end = groups.first_picture[i : i + 2]
        photographs = target_rows[first:end]
        if photographs[0] not in candidates:
            target_rows[first:end] = np.resize(candidates, len(photographs))
    return target_rows

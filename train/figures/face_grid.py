"""A picture for each evaluation: the same people as the networks draw them at that step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vox2face.core.entry import Space
from vox2face.media.audio import RATE
from vox2face.media.decoded_face import save_png
from vox2face.train import storage
from vox2face.train.figures.contact_sheet import GAP
from vox2face.train.figures.tiles import INK, PALE, PAPER, TILE, font_of, write
from vox2face.train.media import read_clip

if TYPE_CHECKING:
    from vox2face.train.corpus.groups import Groups
    from vox2face.train.corpus.manifest import Manifest
    from vox2face.train.prepare.reader import Prepared
    from vox2face.train.prepare.rows import Rows

Pixels = NDArray[np.uint8]
Decode = Callable[[NDArray[np.float32]], Sequence[Pixels]]
PEOPLE = 6  # rows
ORIGINAL, DECODED, SPOKEN = "original", "face-to-face", "speech-to-face"
HEAD, LEFT, TITLE = 34, 14, 15  # pixels
NAME = 11  # pixels: most names are no wider than a tile


@dataclass(frozen=True, eq=False)
class Grid:
    """The people of all grids of a run: numbers, names, pictures and embeddings (n, width)."""

    folder: Path
    people: Sequence[int]
    names: Sequence[str]
    pictures: Sequence[Pixels]
    faces: NDArray[np.float32]

    def draw(
        self, step: int, decode: Decode, spoken: Mapping[int, NDArray[np.float32]] | None = None
    ) -> Path:
        """Write grids/step-000120.png: original, face-to-face and, by person, speech-to-face."""
        columns: dict[str, dict[int, Pixels]] = {
            ORIGINAL: dict(zip(self.people, self.pictures, strict=True)),
            DECODED: dict(zip(self.people, decode(self.faces), strict=True)),
        }
        embeddings = {who: spoken[who] for who in self.people if who in spoken} if spoken else {}
        if embeddings:
            decoded = decode(np.stack(list(embeddings.values())))
            columns[SPOKEN] = dict(zip(embeddings, decoded, strict=True))
        path = self.folder / f"step-{step:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        title = f"after {step:,} steps"
        return save_png(sheet(title, self.people, self.names, columns), path, {"step": str(step)})


def grid(
    folder: Path, prepared: Prepared, faces: Rows, identities: Sequence[str], groups: Groups
) -> Grid:
    """Make the grid of a data set: at most `PEOPLE` spread over it, with their first pictures."""
    positions = np.linspace(0, len(identities) - 1, min(PEOPLE, len(identities)))
    people = np.unique(positions.round().astype(int)).tolist()
    rows = [int(groups.pictures[groups.first_picture[who]]) for who in people]
    return Grid(
        folder,
        people,
        [identities[who] for who in people],
        [prepared.picture(row) for row in rows],
        np.stack([np.asarray(faces[row], np.float32) for row in rows]),
    )


def sheet(
    title: str,
    people: Sequence[int],
    names: Sequence[str],
    columns: Mapping[str, Mapping[int, Pixels]],
) -> Image.Image:
    """Draw the people in rows under the titles of the columns."""
    step, line = TILE + GAP, TILE + GAP + TITLE
    size = (2 * LEFT + step * len(columns) - GAP, HEAD + TITLE + line * len(people) + GAP)
    page = Image.new("RGB", size, PAPER)
    pen, ink = ImageDraw.Draw(page), dict[str, Any](font=font_of(12))
    pen.text((LEFT, 10), title, fill=INK, font=font_of(14))
    for column, (name, images) in enumerate(columns.items()):
        left = LEFT + column * step
        pen.text((left, HEAD), name, fill=INK, **ink)
        for number, who in enumerate(people):
            top = HEAD + TITLE + 4 + number * line
            if who in images:
                tile = Image.fromarray(images[who]).resize((TILE, TILE), Image.Resampling.LANCZOS)
                page.paste(tile, (left, top))
            if column == 0:
                write(pen, (left, top + TILE + 1), names[number], NAME, PALE, TILE, "la")
    return page


def spoken(
    grid: Grid, manifest: Manifest, voice: str, space: Space
) -> dict[int, NDArray[np.float32]]:
    """Return a voice encoder's embedding (width,) of each person's first clip, by number.

    Empty without the name of a voice encoder. Raises `UsageError` for one of another
    width than the faces', or of another space than `space`.
    """
    from vox2face.core.errors import UsageError
    from vox2face.runtime.load import load_kind
    from vox2face.runtime.voice_encoder import VoiceEncoder
    from vox2face.zoo.registry import require_same_space

    if not voice:
        return {}
    encoder, width = load_kind(VoiceEncoder, voice), grid.faces.shape[1]
    if encoder.width != width:
        raise UsageError(
            f"{voice} gives {encoder.width} values and the faces have {width}: name a voice "
            "encoder that was trained for this face encoder."
        )
    require_same_space(voice, encoder.space, "the decoder", space)
    clips = _first_clips(manifest, grid.names)
    who = dict(zip(grid.names, grid.people, strict=True))
    return {who[name]: encoder(read_clip(place), rate=RATE)[0] for name, place in clips.items()}


def _first_clips(manifest: Manifest, names: Sequence[str]) -> dict[str, str]:
    """Return the path or address of the first clip, by path, of each person who has one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = manifest.table
    of_names = pc.is_in(table["identity"].cast("string"), pa.array(names))
    table = table.filter(pc.and_(of_names, pc.equal(table["kind"].cast("string"), "voice")))
    clips: dict[str, str] = {}
    columns = (table[name].cast("string").to_pylist() for name in ("identity", "path", "root"))
    for name, path, root in sorted(zip(*columns, strict=True)):
        clips.setdefault(name, storage.join(root, path))
    return clips

"""The picture sheet of an evaluation: queries with their five first ranked faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vox2face.train.figures.contact_sheet import GAP
from vox2face.train.figures.tiles import INK, PALE, PAPER, TILE, write

RIGHT, TRUTH = "#22964a", "#466ebe"
FRAME, HEAD, FOOT, LEFT, MARGIN = 4, 66, 22, 14, 26  # pixels


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One row: a query and its first ranked faces.

    `true_face` is the speaker's, `extra` the query itself (a spectrogram or a decoded face),
    `faces` the first ones as (name, picture, whether it is the right one), `rank` that of the
    right one, from 1, in a pool of `pool`.
    """

    name: str
    true_face: Image.Image
    extra: Image.Image
    faces: Sequence[tuple[str, Image.Image, bool]]
    rank: int
    pool: int


def sheet(rows: Sequence[SheetRow], title: str, note: str, by: str) -> Image.Image:
    """Draw the sheet: a row for each query, under column titles.

    Blue frames mark the true faces, green ones the right face among the ranked ones.
    """
    widths = [TILE, max(row.extra.width for row in rows), *[TILE] * len(rows[0].faces)]
    gaps = [LEFT, GAP, 3 * GAP, *[GAP] * (len(widths) - 3)]
    lefts = [sum(gaps[: n + 1]) + sum(widths[:n]) for n in range(len(widths))]
    height = TILE + FOOT + GAP
    page = Image.new(
        "RGB", (lefts[-1] + widths[-1] + LEFT, HEAD + height * len(rows) + MARGIN), PAPER
    )
    pen = ImageDraw.Draw(page)
    write(pen, (LEFT, 16), title, 16, INK, page.width - 2 * LEFT)
    write(pen, (LEFT, 36), note, 12, PALE, page.width - 2 * LEFT)
    titles = ["truth", by, *[f"found: {n + 1}" for n in range(len(widths) - 2)]]
    for left, width, text in zip(lefts, widths, titles, strict=True):
        write(pen, (left + width // 2, 54), text, 12, INK, width, "mm")
    for number, row in enumerate(rows):
        _draw_row(page, pen, row, HEAD + number * height, list(zip(lefts, widths, strict=True)))
    frames = "blue frame: the truth; green frame: found; rank: the place of the truth"
    write(pen, (LEFT, page.height - 12), frames, 12, PALE, page.width - 2 * LEFT)
    return page


def _draw_row(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    row: SheetRow,
    top: int,
    columns: Sequence[tuple[int, int]],
) -> None:
    """Draw a query and its ranked faces; `columns` are left edges and widths in pixels."""
    cells: list[tuple[str, Image.Image, str | None]] = [
        (row.name, row.true_face, TRUTH),
        (f"rank {row.rank} of {row.pool}", row.extra, None),
        *((name, face, RIGHT if right else None) for name, face, right in row.faces),
    ]
    for (left, width), (text, picture, colour) in zip(columns, cells, strict=True):
        page.paste(picture, (left + (width - picture.width) // 2, top))
        if colour is not None:
            edge = (left - FRAME, top - FRAME, left + width + FRAME - 1, top + TILE + FRAME - 1)
            pen.rectangle(edge, outline=colour, width=FRAME)
        write(pen, (left + width // 2, top + TILE + 14), text, 12, colour or INK, width, "mm")

"""The picture sheet of an evaluation: queries, and the five faces that were found first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from vox2face.train.contact_sheet import GAP, INK, PALE, PAPER, TILE, lettering
from vox2face.train.evaluate import Setting
from vox2face.train.metrics import Array, Indices, checked
from vox2face.train.retrieval import best, distances

RIGHT, TRUTH = "#22964a", "#466ebe"
FRAME, HEAD, FOOT, LEFT, MARGIN = 4, 66, 22, 14, 26  # pixels
FIRST = 5  # faces shown
Portrait = Callable[[int], Image.Image]


@dataclass(frozen=True, eq=False)
class Found:
    """One row: a query and what was found for it.

    `own` is the speaker's face, `extra` what it was found by (a spectrogram or a decoded face),
    `faces` the first ones as (name, picture, whether it is the right one), `rank` the place of the
    right one in a pool of `pool`.
    """

    name: str
    own: Image.Image
    extra: Image.Image
    faces: Sequence[tuple[str, Image.Image, bool]]
    rank: int
    pool: int


def drawn_people(where: Setting, owners: Indices, count: int) -> list[int]:
    """Return people of the first pool who have a query, drawn by the seed, in order."""
    there = np.intersect1d(where.pools[0], owners)
    rng = np.random.default_rng([where.seed, 5])
    chosen = rng.choice(there, min(count, len(there)), replace=False)
    return sorted(int(person) for person in chosen)


def found_rows(
    where: Setting,
    queries: ArrayLike,
    owners: Indices,
    people: Sequence[int],
    portrait: Portrait,
    extra: Callable[[int], Image.Image],
) -> list[Found]:
    """Return a row for the first query of each of some people of the first pool.

    `portrait` gives a person's picture; `extra`, given the row of the query, what stands for it.
    """
    pool, table = where.pools[0], checked(queries, "query embeddings")
    place = {int(person): column for column, person in enumerate(pool)}
    rows = []
    for person in people:
        query = int(np.flatnonzero(owners == person)[0])
        order = ranked(where, table[query : query + 1], pool)
        faces = [(where.names[i], portrait(int(i)), int(i) == person) for i in pool[order[:FIRST]]]
        rank = int(np.flatnonzero(order == place[person])[0]) + 1
        own = portrait(person)
        rows.append(Found(where.names[person], own, extra(query), faces, rank, len(pool)))
    return rows


def ranked(where: Setting, query: Array, pool: Indices) -> NDArray[np.intp]:
    """Return the columns of the pool for one query (1, width), the nearest first."""
    gallery = where.gallery[pool]
    order: NDArray[np.intp] = best(distances(query, gallery, where.distance), len(pool))[0]
    return order


def sheet(rows: Sequence[Found], title: str, note: str, by: str) -> Image.Image:
    """Return the sheet: a row for each query, under column titles.

    Blue frames mark the truth, green ones a right face among those found.
    """
    widths = [TILE, max(row.extra.width for row in rows), *[TILE] * len(rows[0].faces)]
    gaps = [LEFT, GAP, 3 * GAP, *[GAP] * (len(widths) - 3)]
    lefts = [sum(gaps[: n + 1]) + sum(widths[:n]) for n in range(len(widths))]
    height = TILE + FOOT + GAP
    page = Image.new(
        "RGB", (lefts[-1] + widths[-1] + LEFT, HEAD + height * len(rows) + MARGIN), PAPER
    )
    pen = ImageDraw.Draw(page)
    write(pen, (LEFT, 16), title, 16, INK, page.width - 2 * LEFT, "lm")
    write(pen, (LEFT, 36), note, 12, PALE, page.width - 2 * LEFT, "lm")
    titles = ["truth", by, *[f"found: {n + 1}" for n in range(len(widths) - 2)]]
    for left, width, words in zip(lefts, widths, titles, strict=True):
        write(pen, (left + width // 2, 54), words, 12, INK, width)
    for number, row in enumerate(rows):
        draw_row(page, pen, row, HEAD + number * height, list(zip(lefts, widths, strict=True)))
    frames = "blue frame: the truth; green frame: found; rank: the place of the truth"
    write(pen, (LEFT, page.height - 12), frames, 12, PALE, page.width - 2 * LEFT, "lm")
    return page


def draw_row(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    row: Found,
    top: int,
    columns: Sequence[tuple[int, int]],
) -> None:
    """Draw a query and what was found for it; `columns` are left edges and widths."""
    cells: list[tuple[str, Image.Image, str | None]] = [
        (row.name, row.own, TRUTH),
        (f"rank {row.rank} of {row.pool}", row.extra, None),
        *((name, face, RIGHT if right else None) for name, face, right in row.faces),
    ]
    for (left, width), (words, picture, colour) in zip(columns, cells, strict=True):
        page.paste(picture, (left + (width - picture.width) // 2, top))
        if colour is not None:
            edge = (left - FRAME, top - FRAME, left + width + FRAME - 1, top + TILE + FRAME - 1)
            pen.rectangle(edge, outline=colour, width=FRAME)
        write(pen, (left + width // 2, top + TILE + 14), words, 12, colour or INK, width)


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    words: str,
    size: int,
    ink: str,
    room: int,
    anchor: str = "mm",
) -> None:
    """Write one line, shortened in its middle to `room` pixels: ends of names tell them apart."""
    font = lettering(size)
    shown = "".join(letter if letter.isprintable() else "?" for letter in words)
    kept = len(shown)
    while kept > 1 and font.getlength(shown) > room:
        kept -= 1
        half = kept // 2
        shown = f"{words[: kept - half]}…{words[len(words) - half :]}"
    pen.text(at, shown, fill=ink, font=font, anchor=anchor)

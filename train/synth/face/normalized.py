"""A person's normalised picture: from the front, calm, in even light, before plain grey.

What HQ-VoxCeleb collects and Cole et al. 2017 decode to: only the face differs between people. So
the eyes are at fixed places, glasses are off, everybody wears the same, and the hair is one calm
cut for women and one for men: its colour, its greying and baldness stay the person's.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from vox2face.train.synth.face.head import head, times
from vox2face.train.synth.face.looks import Look
from vox2face.train.synth.face.mesh import body
from vox2face.train.synth.face.palette import Colour
from vox2face.train.synth.face.render import (
    PIVOT,
    Rendered,
    landmarks,
    project,
    render,
    rotation,
)
from vox2face.train.synth.face.strands import Array
from vox2face.train.synth.face.views import View

# Centres of the eyes, (x, y) as parts of the picture
EYES = np.array([[0.365, 0.43], [0.635, 0.43]])
BACKDROP: Colour = (0.80, 0.80, 0.80)
CLOTHES: Colour = (0.30, 0.32, 0.36)
LIGHT: Colour = (0.0, 0.41, 0.91)  # from above the camera
HAIR: dict[bool, dict[str, Any]] = {
    False: {"hair_style": "bob", "hair_length": 1.5},
    True: {"hair_style": "crop", "hair_length": 0.22},
}


def render_normalized(look: Look, size: int = 224) -> Rendered:
    """Draw a person's normalised picture, `size` pixels wide and high."""
    look = normalized(look)
    points = body(look).points
    found = outline(points, view(), size)
    eyes = np.stack([found[36:42].mean(0), found[42:48].mean(0)])
    zoom = float((EYES[1, 0] - EYES[0, 0]) * size / (eyes[1, 0] - eyes[0, 0]))
    # project() puts the middle of the head's frame here
    origin = np.array([0.5, 0.505])
    shift = EYES.mean(0) - origin - ((eyes.mean(0) + 0.5) / size - origin) * zoom
    return render(look, view(zoom, (float(shift[0]), float(shift[1]))), size)


def normalized(look: Look) -> Look:
    """Return the same person without glasses and with the same hair and clothes for all."""
    calm: dict[str, Any] = {
        "hair_volume": 0.8,
        "curl": min(look.curl, 0.05),
        "parting": 0.0,
        "fringe": 0.0,
    }
    things: dict[str, Any] = {"glasses": 0, "clothes": CLOTHES, "neckline": "crew"}
    return dataclasses.replace(look, **HAIR[look.male], **calm, **things)


def view(zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> View:
    """Return the view of all normalised pictures."""
    return View(
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        distance=12.0,
        zoom=zoom,
        shift=shift,
        light=LIGHT,
        light_colour=(0.62,) * 3,
        ambient=(0.72,) * 3,
        backdrop=(BACKDROP,) * 4,
        expression=(),
        gaze=(0.0, 0.0),
        blur=0.25,
        noise=0.0,
        seed=1,
    )


def outline(points: Array, seen: View, size: int) -> Array:
    """Return the landmarks (68, 2) of a head at rest in a picture, in pixels."""
    camera = times(points - PIVOT, rotation(seen).T)
    return landmarks(project(camera, seen, size), head()) - 0.5

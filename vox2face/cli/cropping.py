"""Options of commands that cut faces out of photographs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from vox2face.cli.options import added
from vox2face.core.errors import UsageError

if TYPE_CHECKING:
    from vox2face.runtime.face_input import PictureOptions

options = added(
    (
        click.option("--align", is_flag=True, help="With --crop: turn the face upright."),
        click.option(
            "--face-choice",
            metavar="largest|N",
            help="With --crop: which face of several, the largest or the Nth from 0.",
        ),
        click.option(
            "--detector",
            metavar="NAME",
            help="With --crop: what finds the face, one that an installed package brings "
            "(entry points vox2face.detectors) in place of face-api.",
        ),
    )
)


def picture_options(
    crop: bool, align: bool, face_choice: str | None, detector: str | None
) -> PictureOptions:
    """Return the options as `vox2face.runtime.face_input.read_face` takes them.

    Raises `UsageError` for one that needs --crop, and for a face or a detector that cannot be.
    """
    given = {"--align": align, "--face-choice": face_choice, "--detector": detector}
    if not crop:
        if needless := [name for name, value in given.items() if value]:
            raise UsageError(f"{needless[0]} needs --crop.")
        return {}
    if face_choice not in (None, "largest") and not re.fullmatch("[0-9]+", face_choice):
        raise UsageError(f"--face-choice {face_choice}: it is largest or a number from 0.")
    if detector is not None:
        from vox2face.runtime.detectors import OWN, named

        detector = None if detector == OWN else detector
    if detector is not None:
        named(detector)  # before any work
    return {"crop": True, "align": align, "which": face_choice or "one", "detector": detector}

"""Face decoders of our own, of any width, whose textures belong to mean landmarks."""

from __future__ import annotations

from dataclasses import replace

from vox2face.converters.maps import face_decoder
from vox2face.converters.weight_map import Rule

TABLE = replace(
    face_decoder.TABLE,
    like="a face decoder that warps",
    rules=(
        *face_decoder.TABLE.rules,
        Rule("mean_landmarks/weights", "mean_landmarks", "copy", (68, 2)),
    ),
)

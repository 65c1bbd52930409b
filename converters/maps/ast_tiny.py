"""A small Audio Spectrogram Transformer of our own, which takes differences into its patches."""

from __future__ import annotations

from dataclasses import replace

from vox2face.converters.layer_rules import rules
from vox2face.converters.maps import ast_transformers
from vox2face.converters.maps.ast_transformers import BODY

TABLE = replace(
    ast_transformers.TABLE,
    like="a small Audio Spectrogram Transformer",
    rules=(
        *ast_transformers.TABLE.rules,
        *rules(f"{BODY}.embeddings.patch_embeddings.norm", "patches.norm", "norm", (768,)),
    ),
)

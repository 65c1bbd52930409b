"""The Audio Spectrogram Transformer that transformers has for AudioSet's 527 classes."""

from __future__ import annotations

from dataclasses import replace

from vox2face.converters.maps import ast_transformers

TABLE = replace(
    ast_transformers.TABLE,
    like="the Audio Spectrogram Transformer trained on AudioSet",
    rules=tuple(
        replace(rule, shape=(527, *rule.shape[1:])) if rule.target.startswith("head.") else rule
        for rule in ast_transformers.TABLE.rules
    ),
)

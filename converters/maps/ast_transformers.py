"""ASTForAudioClassification of transformers, as Kacper-Pietkun/Speech-to-face trains it.

The names are those of transformers 4, in which the checkpoints are published; those of
transformers 5 and a classifier that is not wrapped with a ReLU are renamed to them. Speech-to-face
wraps it since 8 April 2024; before, its networks ended without one.
"""

from __future__ import annotations

from vox2face.converters.layer_rules import rules
from vox2face.converters.weight_map import Rule, WeightMap

BODY = "audio_spectrogram_transformer"
TOKENS = 1214  # 12 x 101 patches, class and distillation token
BLOCKS = 12

# fmt: off
LAYERS = (
    (f"{BODY}.embeddings.patch_embeddings.projection", "patches",   (768, 1, 16, 16)),
    (f"{BODY}.layernorm",                              "norm",      (768,)),
    ("classifier.0.layernorm",                         "head_norm", (768,)),
    ("classifier.0.dense",                             "head",      (4096, 768)),
)
BLOCK = (
    ("layernorm_before",          "norm1",  (768,)),
    ("attention.attention.query", "query",  (768, 768)),
    ("attention.attention.key",   "key",    (768, 768)),
    ("attention.attention.value", "value",  (768, 768)),
    ("attention.output.dense",    "output", (768, 768)),
    ("layernorm_after",           "norm2",  (768,)),
    ("intermediate.dense",        "fc1",    (3072, 768)),
    ("output.dense",              "fc2",    (768, 3072)),
)
SINGLE = (
    Rule(f"{BODY}.embeddings/cls_token",           "class_token",        "copy", (1, 1, 768)),
    Rule(f"{BODY}.embeddings/distillation_token",  "distillation_token", "copy", (1, 1, 768)),
    Rule(f"{BODY}.embeddings/position_embeddings", "positions",          "copy", (1, TOKENS, 768)),
)

# transformers 5 -> transformers 4
RENAMES = (
    (r"\.layers\.(\d+)\.",           r".encoder.layer.\1."),
    (r"\.attention\.q_proj/",        ".attention.attention.query/"),
    (r"\.attention\.k_proj/",        ".attention.attention.key/"),
    (r"\.attention\.v_proj/",        ".attention.attention.value/"),
    (r"\.attention\.o_proj/",        ".attention.output.dense/"),
    (r"\.mlp\.fc1/",                 ".intermediate.dense/"),
    (r"\.mlp\.fc2/",                 ".output.dense/"),
    (r"^classifier\.(?=[a-z])",      "classifier.0."),
)

# What the classifier is called -> what the network ends in
ENDINGS = (
    (r"^classifier\.0\.",   "relu"),
    (r"^classifier\.[a-z]", "linear"),
)

# fmt: on

TABLE = WeightMap(
    like="the Audio Spectrogram Transformer of the Speech-to-face repo",
    match="name",
    rules=(
        *SINGLE,
        *(
            rule
            for source, target, shape in (
                *LAYERS,
                *(
                    (f"{BODY}.encoder.layer.{n}.{source}", f"blocks.{n}.{target}", shape)
                    for n in range(BLOCKS)
                    for source, target, shape in BLOCK
                ),
            )
            for rule in rules(source, target, "linear", shape)
        ),
    ),
    renames=RENAMES,
    endings=ENDINGS,
)

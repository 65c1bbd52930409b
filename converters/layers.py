"""Rules by layer: networks of many layers are listed one layer a row, not one array a row."""

from __future__ import annotations

from collections.abc import Iterable

from vox2face.converters.mapping import Rule

# fmt: off
# Array in the file, tensor of the torch module, layout operation, whether it has only the last axis
KINDS: dict[str, tuple[tuple[str, str, str, bool], ...]] = {
    "conv":        (("/kernel", ".weight", "hwio_to_oihw", False),),
    "conv_bias":   (("/kernel", ".weight", "hwio_to_oihw", False),
                    ("/bias", ".bias", "copy", True)),
    "dense":       (("/kernel", ".weight", "io_to_oi", False),
                    ("/bias", ".bias", "copy", True)),
    "batch_norm":  (("/gamma", ".weight", "copy", True),
                    ("/beta", ".bias", "copy", True),
                    ("/moving_mean", ".running_mean", "copy", True),
                    ("/moving_variance", ".running_var", "copy", True)),
    # TensorFlow.js, face-api
    "scaled_conv": (("/conv/filters", ".conv.weight", "hwio_to_oihw", False),
                    ("/conv/bias", ".conv.bias", "copy", True),
                    ("/scale/weights", ".scale.weight", "copy", True),
                    ("/scale/biases", ".scale.bias", "copy", True)),
    "matrix":      (("/weights", ".weight", "io_to_oi", False),),
}
# fmt: on


def rules_of(
    layers: Iterable[tuple[str, str, tuple[int, ...]]], nested: bool = False
) -> tuple[Rule, ...]:
    """Return the rules of layers given as (name, kind, shape of the first array).

    A slash in a name, which torch forbids, becomes an underscore, or a dot where `nested`.
    """
    return tuple(
        Rule(
            f"{name}{source}",
            f"{name.replace('/', '.' if nested else '_')}{target}",
            op,
            shape[-1:] if last else shape,
        )
        for name, kind, shape in layers
        for source, target, op, last in KINDS[kind]
    )

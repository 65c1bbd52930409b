"""Rules by layer: networks of many layers are listed one layer a row, not one array a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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


Shape = tuple[int, ...]
LINEAR = ("weight", "bias")
# Tensor of a torch module, the shape of the first tensor -> its own shape
TENSORS: dict[str, tuple[tuple[str, Callable[[Shape], Shape]], ...]] = {
    "linear": (("weight", lambda s: s), ("bias", lambda s: s[:1])),
    "transposed": (("weight", lambda s: s), ("bias", lambda s: s[1:2])),
    "norm": tuple((n, lambda s: s) for n in ("weight", "bias", "running_mean", "running_var")),
    **{
        f"lstm{n}": (
            (f"weight_ih_l{n}", lambda s: s),
            (f"weight_hh_l{n}", lambda s: (s[0], s[0] // 4)),
            (f"bias_ih_l{n}", lambda s: s[:1]),
            (f"bias_hh_l{n}", lambda s: s[:1]),
        )
        for n in range(3)
    },
}


def tensor_rules(layers: Iterable[tuple[str, str, Shape]]) -> tuple[Rule, ...]:
    """Return the rules of PyTorch layers whose names stay, given as (name, kind, first shape)."""
    return tuple(
        Rule(f"{name}/{tensor}", f"{name}.{tensor}", "copy", shape_of(shape))
        for name, kind, shape in layers
        for tensor, shape_of in TENSORS[kind]
    )


def renamed_rules(
    layers: Iterable[tuple[str, str, Shape]], tensors: Sequence[str]
) -> tuple[Rule, ...]:
    """Return the rules of PyTorch layers given as (name, new name, shape of the first tensor).

    Every further tensor is a vector as long as the first axis.
    """
    return tuple(
        Rule(f"{name}/{tensor}", f"{new}.{tensor}", "copy", shape if not n else shape[:1])
        for name, new, shape in layers
        for n, tensor in enumerate(tensors)
    )

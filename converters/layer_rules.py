"""Rules by layer: networks of many layers are listed one layer a row, not one array a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vox2face.converters.weight_map import Rule

Shape = tuple[int, ...]


def whole(shape: Shape) -> Shape:
    """Return a layer's shape, that of its first array."""
    return shape


def first(shape: Shape) -> Shape:
    """Return its first axis, the outputs of PyTorch's layers."""
    return shape[:1]


def last(shape: Shape) -> Shape:
    """Return its last axis, the outputs of Keras's layers."""
    return shape[-1:]


def lstm(number: int) -> tuple[tuple[str, str, str, Callable[[Shape], Shape]], ...]:
    """Return the tensors of one layer of an nn.LSTM, whose four gates lie in one matrix."""
    # fmt: off
    return (
        (f"/weight_ih_l{number}", f".weight_ih_l{number}", "copy", whole),
        (f"/weight_hh_l{number}", f".weight_hh_l{number}", "copy", lambda s: (s[0], s[0] // 4)),
        (f"/bias_ih_l{number}",   f".bias_ih_l{number}",   "copy", first),
        (f"/bias_hh_l{number}",   f".bias_hh_l{number}",   "copy", first),
    )

    # fmt: on


# fmt: off
# Array in the file, tensor of the torch module, layout operation, its shape from the layer's
KINDS: dict[str, tuple[tuple[str, str, str, Callable[[Shape], Shape]], ...]] = {
    # Keras
    "conv":        (("/kernel", ".weight", "hwio_to_oihw", whole),),
    "conv_bias":   (("/kernel", ".weight", "hwio_to_oihw", whole),
                    ("/bias", ".bias", "copy", last)),
    "dense":       (("/kernel", ".weight", "io_to_oi", whole),
                    ("/bias", ".bias", "copy", last)),
    "batch_norm":  (("/gamma", ".weight", "copy", whole),
                    ("/beta", ".bias", "copy", whole),
                    ("/moving_mean", ".running_mean", "copy", whole),
                    ("/moving_variance", ".running_var", "copy", whole)),
    # TensorFlow.js, face-api
    "scaled_conv": (("/conv/filters", ".conv.weight", "hwio_to_oihw", whole),
                    ("/conv/bias", ".conv.bias", "copy", last),
                    ("/scale/weights", ".scale.weight", "copy", last),
                    ("/scale/biases", ".scale.bias", "copy", last)),
    "matrix":      (("/weights", ".weight", "io_to_oi", whole),),
    # PyTorch
    "linear":      (("/weight", ".weight", "copy", whole),
                    ("/bias", ".bias", "copy", first)),
    "transposed":  (("/weight", ".weight", "copy", whole),
                    ("/bias", ".bias", "copy", lambda s: s[1:2])),
    "norm":        (("/weight", ".weight", "copy", whole),
                    ("/bias", ".bias", "copy", whole),
                    ("/running_mean", ".running_mean", "copy", whole),
                    ("/running_var", ".running_var", "copy", whole)),
    **{f"lstm{number}": lstm(number) for number in range(3)},
}


# fmt: on


def rules(source: str, target: str, kind: str, shape: Shape) -> tuple[Rule, ...]:
    """Return the rules of one layer, by its names in the file and in the torch module."""
    return tuple(
        Rule(f"{source}{array}", f"{target}{tensor}", op, shape_of(shape))
        for array, tensor, op, shape_of in KINDS[kind]
    )


def rules_of(layers: Iterable[tuple[str, str, Shape]], nested: bool = False) -> tuple[Rule, ...]:
    """Return the rules of layers given as (name, kind, shape of the first array).

    A slash in a name, which torch forbids, becomes an underscore, or a dot where `nested`.
    """
    return tuple(
        rule
        for name, kind, shape in layers
        for rule in rules(name, name.replace("/", "." if nested else "_"), kind, shape)
    )

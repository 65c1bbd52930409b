"""The owners' graphs in Keras, rebuilt here layer by layer, for `--verify keras`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vox2face.converters.reference.vggface import STAGES

RESIDUAL_STAGES = ((2, 3), (3, 4), (4, 6), (5, 3))
CHANNELS = (64, 128, 256, 512, 512)


def convolutional(
    k: Any, channels: tuple[int, ...] = CHANNELS, hidden: int = 4096, classes: int = 2622
) -> tuple[Any, dict[str, Any]]:
    """deepface's base_model(): zero padding, convolutions to the end (deepface VGGFace.py)."""
    layers = k.layers

    def conv(x: Any, name: str, width: int) -> Any:
        return layers.Conv2D(width, 3, activation="relu")(layers.ZeroPadding2D(1)(x))

    start, x, outputs = trunk(k, channels, conv)
    x = outputs["fc6"] = layers.Conv2D(hidden, 7, activation="relu")(x)
    x = outputs["fc7"] = layers.Conv2D(hidden, 1, activation="relu")(x)
    if classes:
        x = outputs["fc8"] = layers.Conv2D(classes, 1)(x)
    return k.Model(start, x), outputs


def dense(
    k: Any, channels: tuple[int, ...] = CHANNELS, hidden: int = 4096, classes: int = 2622
) -> tuple[Any, dict[str, Any]]:
    """keras-vggface's VGG16 with top: Flatten and Dense (keras_vggface/models.py)."""
    layers = k.layers

    def conv(x: Any, name: str, width: int) -> Any:
        return layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)

    start, x, outputs = trunk(k, channels, conv)
    x = layers.Dense(hidden, name="fc6")(layers.Flatten(name="flatten")(x))
    x = outputs["fc6"] = layers.Activation("relu", name="fc6_relu")(x)
    x = layers.Dense(hidden, name="fc7")(x)
    x = outputs["fc7"] = layers.Activation("relu", name="fc7_relu")(x)
    if classes:
        x = outputs["fc8"] = layers.Dense(classes, name="fc8")(x)
    return k.Model(start, x), outputs


def trunk(
    k: Any, channels: tuple[int, ...], conv: Callable[[Any, str, int], Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """The five stages of convolutions and pools: (input, last map, outputs by tap)."""
    outputs: dict[str, Any] = {}
    x = start = k.Input((224, 224, 3))
    for number, (stage, width) in enumerate(zip(STAGES, channels, strict=True), start=1):
        for name in stage:
            x = outputs[name] = conv(x, name, width)
        pool = f"pool{number}"
        x = outputs[pool] = k.layers.MaxPooling2D(2, strides=2, name=pool)(x)
    return start, x, outputs


def resnet50(k: Any, **options: int) -> tuple[Any, dict[str, Any]]:
    """keras-vggface's RESNET50(), the classifier without its softmax."""
    return residual(k, squeeze=False, epsilon=1e-3, **options)


def senet50(k: Any, **options: int) -> tuple[Any, dict[str, Any]]:
    """keras-vggface's SENET50(), the classifier without its softmax."""
    return residual(k, squeeze=True, epsilon=1e-4, **options)


def residual(
    k: Any, squeeze: bool, epsilon: float, stem: int = 64, classes: int = 8631
) -> tuple[Any, dict[str, Any]]:
    """Either network; `stem` is its first width, of which all others are multiples."""
    layers = k.layers

    def convolution(x: Any, name: str, width: int, size: int, stride: int = 1) -> Any:
        same = {"padding": "same"} if size > 1 else {}
        x = layers.Conv2D(width, size, strides=stride, use_bias=False, name=name, **same)(x)
        return layers.BatchNormalization(epsilon=epsilon, name=f"{name}/bn")(x)

    def excited(x: Any, name: str, width: int) -> Any:
        y = layers.Reshape((1, 1, width))(layers.GlobalAveragePooling2D()(x))
        y = layers.Conv2D(width // 16, 1, activation="relu", name=f"{name}_1x1_down")(y)
        y = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_1x1_up")(y)
        return layers.multiply([x, y])

    outputs: dict[str, Any] = {}
    start = k.Input((224, 224, 3))
    x = layers.ReLU()(convolution(start, "conv1/7x7_s2", stem, 7, 2))
    outputs["conv1"] = x
    x = outputs["pool1"] = layers.MaxPooling2D(3, strides=2)(x)
    for stage, depth in RESIDUAL_STAGES:
        width = stem * 2 ** (stage - 2)
        for number in range(1, depth + 1):
            name, stride = f"conv{stage}_{number}", 2 if stage > 2 and number == 1 else 1
            y = layers.ReLU()(convolution(x, f"{name}_1x1_reduce", width, 1, stride))
            y = layers.ReLU()(convolution(y, f"{name}_3x3", width, 3))
            y = convolution(y, f"{name}_1x1_increase", 4 * width, 1)
            y = excited(y, name, 4 * width) if squeeze else y
            if number == 1:
                x = convolution(x, f"{name}_1x1_proj", 4 * width, 1, stride)
            x = outputs[name] = layers.ReLU()(layers.add([y, x]))
    x = layers.AveragePooling2D(7, name="avg_pool")(x)
    x = outputs["avg_pool"] = layers.Flatten()(x)
    if classes:
        x = outputs["classifier"] = layers.Dense(classes, name="classifier")(x)
    return k.Model(start, x), outputs

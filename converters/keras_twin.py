"""The owners' graphs in Keras, for `--verify keras`; the only module that imports TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vox2face.converters.ops import Array
from vox2face.converters.reference import STAGES

CHANNELS = (64, 128, 256, 512, 512)


def keras() -> Any:
    """Import the Keras that reads legacy files as their owners do: tf-keras, else Keras 3."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return import_module("tf_keras" if find_spec("tf_keras") else "keras")


def taps(path: Path, match: str, x: Array) -> Iterator[tuple[str, Array]]:
    """Yield (tap, activation) of the owner's graph, loaded by Keras itself from the file.

    `match` is how the owner loads: "order" builds deepface's graph of convolutions, "name" that
    of keras-vggface with Dense layers. `x` is float32 (n, 224, 224, 3); maps come as NHWC.
    """
    k = keras()
    model, outputs = (convolutional if match == "order" else dense)(k)
    model.load_weights(str(path), **({"by_name": True} if match == "name" else {}))
    tapped = k.Model(model.inputs, list(outputs.values()))
    for tap, value in zip(outputs, tapped.predict_on_batch(x), strict=True):
        yield tap, value.reshape(len(x), -1) if tap.startswith("fc") else value


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
    outputs["fc8"] = layers.Conv2D(classes, 1)(x)
    return k.Model(start, outputs["fc8"]), outputs


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
    outputs["fc8"] = layers.Dense(classes, name="fc8")(x)
    return k.Model(start, outputs["fc8"]), outputs


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

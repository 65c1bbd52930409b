"""keras-vggface's own code, unchanged, on tf-keras; run in a process of its own.

keras-vggface 0.6 imports modules that no current Keras has: they are given to it first. Nothing of
the networks is ours.

    python keras_vggface_owner.py make MODEL FOLDER PICTURE...
    python keras_vggface_owner.py load MODEL FILE.h5 ORIGINAL.h5 [MODEL FILE.h5 ORIGINAL.h5 ...]
    python keras_vggface_owner.py page PAGE.md OUT.pickle FOLDER

`make` builds the network, draws weights, saves them as Keras does (MODEL.h5, and without the
classifier MODEL_notop.h5), and keeps the activations of all blocks (MODEL.npz). `load` loads files
as their owner does, and by name, and compares all weights with those of the original. `page` runs
the old side of a page's pairs; what they download is taken from FOLDER.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tf_keras
from PIL import Image


def module(name: str, **content: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(content)
    sys.modules[name] = made
    return made


def keras_of_2018() -> None:
    """Let `import keras` give tf-keras, with the modules that Keras 2.2 had beside it."""
    sys.modules["keras"] = tf_keras
    for name in ("layers", "backend", "models", "utils", "preprocessing"):
        sys.modules[f"keras.{name}"] = getattr(tf_keras, name)
    utils: Any = tf_keras.utils
    utils.layer_utils = module("keras.utils.layer_utils")
    module("keras.utils.data_utils", get_file=tf_keras.utils.get_file)
    module("keras.engine")
    module("keras.engine.topology", get_source_inputs=tf_keras.utils.get_source_inputs)
    module("keras_applications")
    module("keras_applications.imagenet_utils", _obtain_input_shape=input_shape)


def input_shape(shape: tuple[int, ...] | None, default_size: int, **more: Any) -> tuple[int, ...]:
    return shape or (default_size, default_size, 3)


def network(name: str, top: bool = True) -> Any:
    from keras_vggface.vggface import VGGFace

    more = {} if top else {"pooling": "avg"}
    return VGGFace(model=name, include_top=top, weights=None, input_shape=(224, 224, 3), **more)


def drawn(weight: Any, rng: np.random.Generator, small: bool) -> np.ndarray:
    """Return random values; kernels may be small, so that a wrong epsilon behind them shows."""
    shape = tuple(weight.shape)
    layer, kind = weight.name.partition(":")[0].rsplit("/", 1)
    values = rng.standard_normal(shape).astype(np.float32)
    if kind == "kernel":
        return values * np.float32((2 / np.prod(shape[:-1])) ** 0.5 * (0.1 if small else 1))
    if kind == "gamma" and "increase" in layer:  # residuals beside shortcuts
        return np.float32(0.1) * values + np.float32(0.3)
    return np.float32(0.1) * values + np.float32(kind == "gamma")


def normalise(model: Any, x: np.ndarray) -> None:
    """Give every batch normalisation the statistics of real activations, as training does."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)


def taps(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, tensor) of every block, the average and the scores; or of fc6, fc7, fc8."""
    layers = {layer.name: layer for layer in model.layers}
    if "fc8" in layers:
        yield "fc6", layers["fc6/relu"].output
        yield "fc7", layers["fc7/relu"].output
        yield "fc8", scores(layers["fc8"])
        return
    blocks = [f"conv{s}_{n}" for s, d in ((2, 3), (3, 4), (4, 6), (5, 3)) for n in range(1, d + 1)]
    added = [layer.output for layer in model.layers if isinstance(layer, tf_keras.layers.Add)]
    for name, tensor in zip(blocks, added, strict=True):
        yield name, tf_keras.layers.ReLU()(tensor)
    yield "avg_pool", tf_keras.layers.Flatten()(layers["avg_pool"].output)
    yield "classifier", scores(layers["classifier"])


def scores(layer: Any) -> Any:
    """Return what a last layer computes before its softmax."""
    linear = tf_keras.layers.Dense(layer.units)
    tensor = linear(layer.input)
    linear.set_weights(layer.get_weights())
    return tensor


def make(name: str, folder: Path, pictures: list[str]) -> None:
    from keras_vggface.utils import preprocess_input

    model, rng = network(name), np.random.default_rng(5)
    residual = name != "vgg16"
    model.set_weights([drawn(weight, rng, residual) for weight in model.weights])
    pixels = [np.asarray(Image.open(p).convert("RGB"), np.float32) for p in pictures]
    x = preprocess_input(np.stack(pixels), version=2 if residual else 1)
    if residual:
        normalise(model, x)
    model.save_weights(folder / f"{name}.h5")
    names, tensors = zip(*taps(model), strict=True)
    values = tf_keras.Model(model.inputs, list(tensors)).predict_on_batch(x)
    np.savez(folder / f"{name}.npz", **dict(zip(names, values, strict=True)))
    if residual:
        bare = network(name, top=False)
        bare.set_weights(model.get_weights()[: len(bare.get_weights())])
        bare.save_weights(folder / f"{name}_notop.h5")


def load(name: str, path: str, original: str) -> None:
    model = network(name, top="notop" not in original)
    model.load_weights(original)
    wanted = [value.copy() for value in model.get_weights()]
    for more in ({}, {"by_name": True}):  # resnet50 and senet50 by order, vgg16 by name
        model.set_weights([np.zeros_like(value) for value in wanted])
        model.load_weights(path, **more)
        for got, want in zip(model.get_weights(), wanted, strict=True):
            assert want.any() and np.array_equal(got.view("u4"), want.view("u4"))
    print(name, len(wanted), "arrays")


def page(path: str, out: str, folder: str) -> None:
    import page_pairs  # beside this file

    utils: Any = sys.modules["keras.utils.data_utils"]
    utils.get_file = lambda name, *address, **more: str(Path(folder) / name)
    page_pairs.main(path, out)


if __name__ == "__main__":
    task, *rest = sys.argv[1:]
    keras_of_2018()
    if task == "make":
        make(rest[0], Path(rest[1]), rest[2:])
    elif task == "page":
        page(*rest)
    else:
        for start in range(0, len(rest), 3):
            load(*rest[start : start + 3])

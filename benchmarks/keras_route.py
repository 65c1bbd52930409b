"""The usual way to convert VGG-Face, as a yardstick: Keras graph, load, copy, torch.save.

A rebuild of the method of Kacper-Pietkun/Speech-to-face, src/tensorflow_to_pytroch/
VGGFace_serengil.py, run as `python keras_route.py WEIGHTS.h5 OUTPUT.pt` in a process of its own.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import torch
from keras import Input, Sequential
from keras.layers import Activation, Conv2D, Dropout, Flatten, MaxPooling2D, ZeroPadding2D
from torch import nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def keras_graph() -> Sequential:
    """Build the owner's Sequential graph."""
    model = Sequential([Input((224, 224, 3))])
    for channels, depth in STAGES:
        for _ in range(depth):
            model.add(ZeroPadding2D((1, 1)))
            model.add(Conv2D(channels, (3, 3), activation="relu"))
        model.add(MaxPooling2D((2, 2), strides=(2, 2)))
    model.add(Conv2D(4096, (7, 7), activation="relu"))
    model.add(Dropout(0.5))
    model.add(Conv2D(4096, (1, 1), activation="relu"))
    model.add(Dropout(0.5))
    model.add(Conv2D(2622, (1, 1)))
    model.add(Flatten())
    model.add(Activation("softmax"))
    return model


def torch_net() -> nn.Sequential:
    """Build the same convolutions in torch."""
    layers: list[nn.Module] = []
    width = 3
    for channels, depth in STAGES:
        for _ in range(depth):
            layers.append(nn.Conv2d(width, channels, 3, padding=1))
            width = channels
    layers += [nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1), nn.Conv2d(4096, 2622, 1)]
    return nn.Sequential(*layers)


def main() -> None:
    """Convert the file named first to the file named second."""
    source, target = sys.argv[1:3]
    model = keras_graph()
    model.load_weights(source)
    net = torch_net()
    weighted = [layer for layer in model.layers if layer.get_weights()]
    for ours, layer in zip(net, weighted, strict=True):
        kernel, bias = layer.get_weights()
        ours.weight = nn.Parameter(torch.from_numpy(np.transpose(kernel, (3, 2, 0, 1)).copy()))
        ours.bias = nn.Parameter(torch.from_numpy(bias))
    torch.save(net.state_dict(), target)


if __name__ == "__main__":
    main()

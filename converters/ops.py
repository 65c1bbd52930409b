"""Layout operations by name, each with its exact inverse.

They return views where NumPy can, so that applying one to a memory map reads nothing; `fill`
then copies such a view block by block at the speed of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
TILE = 1 << 19  # bytes: what a tile may take so that it stays in a core's cache
PADDING = 16  # values by which the rows of a tile are longer than needed: a line of the cache


@dataclass(frozen=True)
class Op:
    """One named change of layout. `inverse` undoes `forward` bit for bit."""

    name: str
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]


# fmt: off
OPS: dict[str, Op] = {op.name: op for op in (
    Op("copy", lambda a: a, lambda a: a),
    # Keras Conv2D (height, width, in, out) <-> torch Conv2d (out, in, height, width)
    Op("hwio_to_oihw", lambda a: a.transpose(3, 2, 0, 1), lambda a: a.transpose(2, 3, 1, 0)),
    # a 1x1 Conv2D (1, 1, in, out) <-> torch Linear (out, in)
    Op("hwio_to_oi", lambda a: a[0, 0].T, lambda a: a.T[None, None]),
    # a torch 1x1 Conv2d (out, in, 1, 1) <-> torch Linear (out, in)
    Op("oi11_to_oi", lambda a: a[:, :, 0, 0], lambda a: a[:, :, None, None]),
    # Keras Dense (in, out) <-> torch Linear (out, in)
    Op("io_to_oi", lambda a: a.T, lambda a: a.T),
    # Dense behind a Flatten of 7x7xC, rows in H, W, C order <-> torch Conv2d (out, C, 7, 7)
    Op("hwc_rows_to_oihw_7x7",
       lambda a: a.reshape(7, 7, -1, a.shape[1]).transpose(3, 2, 0, 1),
       lambda a: a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0])),
    # torch Linear (out, 49 C), columns in C, H, W order <-> torch Conv2d (out, C, 7, 7)
    Op("chw_columns_to_oihw_7x7",
       lambda a: a.reshape(a.shape[0], -1, 7, 7),
       lambda a: a.reshape(a.shape[0], -1)),
    # torch Linear (out, 49 C), columns in Keras's H, W, C order <-> torch Conv2d (out, C, 7, 7)
    Op("hwc_columns_to_oihw_7x7",
       lambda a: a.reshape(a.shape[0], 7, 7, -1).transpose(0, 3, 1, 2),
       lambda a: a.transpose(0, 2, 3, 1).reshape(a.shape[0], -1)),
)}


# fmt: on


def fill(target: Array, view: Array) -> None:
    """Copy `view` into the contiguous `target` of the same shape.

    A kernel's view runs against its memory: its first axis is the fastest there, its second the
    next. A naive copy then strides through memory with a cache miss for every value. Here tiles
    are first copied as they lie, into rows that are a little longer than needed (rows a power of
    two apart would evict each other from the cache), then transposed inside the cache: several
    times faster.
    """
    if view.ndim < 2 or view.strides[0] != view.itemsize:
        np.copyto(target, view)
        return
    outs, ins = view.shape[:2]
    memory = np.moveaxis(view, (0, 1), (-1, -2)).reshape(-1, ins, outs)
    kernel = memory.shape[0]
    result = target.reshape(outs, ins * kernel)
    step = min(ins, max(1, TILE // (kernel * (outs + PADDING) * view.itemsize)))
    tile = np.empty((step, kernel, outs + PADDING), view.dtype)
    for start in range(0, ins, step):
        stop = min(start + step, ins)
        part = tile[: stop - start]
        np.copyto(part[:, :, :outs].transpose(1, 0, 2), memory[:, start:stop])
        rows = part.reshape(-1, outs + PADDING)[:, :outs]
        np.copyto(result[:, start * kernel : stop * kernel], rows.T)

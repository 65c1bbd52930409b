"""Read weight files of every common format without trusting them.

Reading the structure reads no weights: those of an array are read only after the weight map has
accepted its shape.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vox2face.converters.readers.base import Declared, Values
from vox2face.converters.readers.sandbox import Child
from vox2face.converters.weight_map import StoredArray
from vox2face.core import extras
from vox2face.core.errors import WeightFileError
from vox2face.core.files import ACCEPTED, ONNX, full_disk_explained, identify, require_weight_file
from vox2face.core.safetensors_header import described

# What `identify` says of files that hold weights
READ = ("HDF5", "a PyTorch file", "a zip archive", "a safetensors file", "a JSON file", ONNX)

# What can be done about files that hold weights in a form that is not read.
ADVICE = {
    "a Python pickle": (
        ", which can run any code when it is loaded and is not read: if you trust it, load it in "
        "PyTorch and save its state_dict() with torch.save"
    ),
    "a TensorFlow checkpoint": ": load it in Keras and save the model's weights",
    "a SavedModel's graph": ": load the folder in Keras and save the model's weights",
    "a Git LFS pointer, not the file it points to": ": run git lfs pull where it comes from",
    "a web page (HTML)": ": open it to see what the server said, and download the file again",
    "plain text": ": download the file again",
    "a gzip archive": ": unpack it first",
    "a tar archive": ": unpack it first",
}


@dataclass(frozen=True, kw_only=True)
class WeightFile(Declared):
    """An open weight file.

    `size` are the bytes of the file and its parts, `signature` is that of the file when it was
    opened.
    """

    path: Path
    child: Child
    size: int
    signature: list[int]

    def values(self, arrays: Sequence[StoredArray], folder: Path | None = None) -> list[Values]:
        """Return the float32 values of arrays, as maps of a temporary file of ours.

        It lies in `folder`, by default where the system has such files, and has no name any more.
        Raises `WeightFileError` if values are damaged.
        """
        numbers = {array.path: number for number, array in enumerate(self.arrays)}
        asked = [numbers[array.path] for array in arrays]
        where = Path(folder or tempfile.gettempdir())
        with (
            full_disk_explained(where),
            tempfile.TemporaryDirectory(dir=where, ignore_cleanup_errors=True) as place,
        ):
            spool = Path(place) / "values.safetensors"
            self.child.ask(spool, asked)
            held = described(spool)
            return [
                np.memmap(spool, "<f4", "r", held[str(number)].start, array.shape)
                for array, number in zip(arrays, asked, strict=True)
            ]


@contextmanager
def open_weights(path: Path, state: str = "") -> Iterator[WeightFile]:
    """Open a weight file for reading, in a child process.

    `state` is the key of a state dict in a training checkpoint of PyTorch that holds several.
    Raises `WeightFileError` in one sentence for what is none, is damaged, or uses what a weight
    file has no business using: code, links, other files than its own parts; `UsageError` for an
    ONNX file without the extra `onnx`.
    """
    require_weight_file(path)
    try:
        kind = identify(path)
    except OSError as error:
        raise WeightFileError(f"{path} cannot be read ({error.strerror}).") from error
    if kind not in READ:
        advice = ADVICE.get(kind, "")
        raise WeightFileError(f"{path} is {kind}{advice}; expected {ACCEPTED}.")
    if kind == ONNX:
        extras.require("onnx", f"Reading {path}, {ONNX},")
    child = Child(path, state)
    try:
        found = child.answer()
        arrays = tuple(StoredArray(a, b, c, tuple(d)) for a, b, c, d in found.pop("arrays"))
        parts, told = tuple(map(Path, found.pop("parts"))), tuple(found.pop("told"))
        yield WeightFile(path=path, child=child, arrays=arrays, parts=parts, told=told, **found)
    finally:
        child.end()

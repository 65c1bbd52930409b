"""Read weight files of every common format without their frameworks and without trusting them.

Reading the structure reads no weights: a `StoredArray` is opened only after the weight map has
accepted its shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vox2face.converters.readers.base import LEGACY, WeightFile, mapped, row_blocks
from vox2face.errors import WeightFileError
from vox2face.files import ACCEPTED, identify, require_weight_file
from vox2face.spec import resolve

__all__ = ["LEGACY", "WeightFile", "mapped", "open_weights", "row_blocks"]

# What `identify` says -> the reader of it.
READERS = {
    "HDF5": "vox2face.converters.readers.h5_quick:opened",
    "a PyTorch file": "vox2face.converters.readers.torch_legacy:opened",
    "a zip archive": "vox2face.converters.readers.archives:opened",
    "a safetensors file": "vox2face.converters.readers.safetensors_file:opened",
    "a JSON file": "vox2face.converters.readers.listings:opened",
}
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


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a weight file for reading.

    Raises `WeightFileError` in one sentence for what is none, is damaged, or uses what a weight
    file has no business using: code, links, other files than its own parts.
    """
    require_weight_file(path)
    try:
        kind = identify(path)
    except OSError as error:
        raise WeightFileError(f"{path} cannot be read ({error.strerror}).") from error
    if kind not in READERS:
        advice = ADVICE.get(kind, "")
        raise WeightFileError(f"{path} is {kind}{advice}; expected is {ACCEPTED}.")
    with resolve(READERS[kind])(path) as file:
        yield file

"""Damage weight files of every format for a while and hold the readers to their promises.

    python tests/helpers/fuzz_read.py --minutes 30 [--seed N] [--failures FOLDER] [--only .h5]

Each damaged file is read by its reader in a child process of its own, as `vox2face` does it.
Whatever a file holds, that ends in time, opens no other file, raises nothing but `Vox2FaceError`,
and never by a signal but where its limits or its library end it. What is accepted equals what the
format's own library reads, which is asked twice, with other rubbish in fresh memory each time.
Files that break this are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import h5py
import numpy as np
import torch
from safetensors import safe_open

from helpers.damage import damaged
from vox2face.converters.readers import __main__ as child
from vox2face.converters.readers import pytorch
from vox2face.converters.readers.base import Opened, explained
from vox2face.converters.readers.keras import hdf5  # noqa: F401
from vox2face.converters.readers.open import open_weights
from vox2face.core.errors import Vox2FaceError
from vox2face.core.files import identify

HELPERS = Path(__file__).parent
SECONDS = 20  # of wall time, on a busy machine
OK, REFUSED, FAILED = 0, 1, 2
# A library may crash on a damaged file, which costs the child process; so may a limit
COSTS_THE_CHILD = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGXCPU}
M_PERTURB = -6  # of glibc's mallopt: what byte fresh memory is filled with
KNOWN = ("HDF5", "a PyTorch file", "a zip archive", "a safetensors file", "a JSON file")
Arrays = Mapping[str, np.ndarray[Any, Any]]


def read_all(path: Path) -> int:
    """Open a file as `vox2face` does and read every value; return the number of bytes read."""
    with open_weights(path) as file:
        return sum(values.nbytes for values in map(np.array, file.values(file.arrays)))


def read_here(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return what a reader reads, in this process and within the limits of a child."""
    with explained(path):
        reader = child.reader_of(path, "")
        child.limit(path.stat().st_size)
        with reader as file:
            file.checked(sum(p.stat().st_size for p in (path, *file.parts)))
            child.limit(sum(array.nbytes for array in file.arrays))
            return {a.path: joined(file, n) for n, a in enumerate(file.arrays)}


def joined(file: Opened, number: int) -> np.ndarray[Any, Any]:
    """Return the values of an array as the child writes them."""
    values = b"".join(np.ascontiguousarray(b, "<f4").tobytes() for b in file.blocks(number))
    return np.frombuffer(values, "<f4").reshape(file.arrays[number].shape)


def of_hdf5(source: Any, paths: Arrays) -> Iterator[tuple[str, Any]]:
    """Yield what h5py reads."""
    with h5py.File(source, "r") as file:
        for path in paths:
            try:
                values = file[path]
            except KeyError:
                values = file[f"model_weights/{path}"]
            yield path, values[()].astype("<f4")


def of_archive(path: Path, paths: Arrays) -> Iterator[tuple[str, Any]]:
    """Yield what zipfile and h5py read."""
    with zipfile.ZipFile(path) as archive:
        yield from of_hdf5(io.BytesIO(archive.read("model.weights.h5")), paths)


def of_pytorch(path: Path, paths: Arrays) -> Iterator[tuple[str, Any]]:
    """Yield what torch.load reads."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = pytorch.chosen(content, "")[1]
    for name in paths:
        yield name, state[name].detach().resolve_neg().float().numpy()


def of_safetensors(path: Path, paths: Arrays) -> Iterator[tuple[str, Any]]:
    """Yield what safetensors reads."""
    with safe_open(path, framework="pt") as file:
        for name in paths:
            yield name, file.get_tensor(name).float().numpy()


def oracle(path: Path) -> Callable[[Any, Arrays], Iterator[tuple[str, Any]]] | None:
    """Return what reads a file without us; the values of TensorFlow.js are computed by us alone."""
    kind = identify(path)
    if kind == "a zip archive":
        return of_pytorch if child.is_pytorch(path) else of_archive
    own = {"HDF5": of_hdf5, "a PyTorch file": of_pytorch, "a safetensors file": of_safetensors}
    return own.get(kind)


def differences(path: Path, found: Arrays) -> str:
    """Return where the format's library reads other values, under either filling of memory."""
    read = oracle(path)
    for rubbish in (85, 170) if read else ():
        ctypes.CDLL(None).mallopt(M_PERTURB, rubbish)
        with contextlib.suppress(UnicodeDecodeError):  # torch logs an id that it has not read
            for name, value in read(path, found):  # type: ignore[misc]
                if value.tobytes() != found[name].tobytes():
                    return f"{name} is read otherwise"
    return ""


def promise(path: Path) -> tuple[int, str]:
    """Read a file here; return what became of it, with the reason of a failure."""
    opened: list[str] = []
    allowed = (str(path.parent), tempfile.gettempdir(), sys.prefix, sys.base_prefix, "/proc/self")

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            name = os.fspath(arguments[0])
            if not str(name).startswith((*allowed, str(Path(__file__).parents[2]))):
                opened.append(str(name))

    if identify(path) not in KNOWN:
        return REFUSED, ""
    sys.addaudithook(watch)
    try:
        found = read_here(path)
    except Vox2FaceError as error:
        if str(path.parent) not in str(error) or "\n" in str(error) or len(str(error)) > 2000:
            return FAILED, f"not one sentence about the file: {error}"
        return (FAILED, f"it opened {opened[0]}") if opened else (REFUSED, "")
    except BaseException as error:
        return FAILED, f"{type(error).__name__}: {error}"
    words = f"it opened {opened[0]}" if opened else differences(path, found)
    return (FAILED, words) if words else (OK, "")


def in_child(path: Path) -> tuple[int, str]:
    """Try a file in a child process, so that crashes, time and memory are its own."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        os.close(reader)
        signal.alarm(SECONDS)
        code, words = FAILED, "left early"
        try:
            code, words = promise(path)
        finally:
            os.write(writer, words.encode("utf-8", "replace")[:4000])
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        words = pipe.read().decode()
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        ended = os.WTERMSIG(status)
        return (REFUSED, "") if ended in COSTS_THE_CHILD else (FAILED, f"signal {ended} {words}")
    return os.waitstatus_to_exitcode(status), words


def prepare(folder: Path) -> list[Path]:
    """Write the seed files in another process."""
    script = HELPERS / "seeds.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Run for some minutes and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--only", default="", help="a part of the names of the files to damage")
    options = parser.parse_args()
    rng, counts = random.Random(options.seed), Counter[str]()
    end = time.monotonic() + 60 * options.minutes
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        seeds = Path(name) / "seeds"
        seeds.mkdir()
        paths = prepare(seeds)
        contents = {path: path.read_bytes() for path in paths}
        for path in paths:
            code, words = in_child(path) if path.suffix != ".bin" else (OK, "")
            assert code == OK, f"{path.name}, undamaged: {words}"
        paths = [path for path in paths if options.only in path.name]
        while time.monotonic() < end:
            case = Path(name) / "case"
            chosen = rng.choice(paths)
            alone = chosen.parent == seeds
            case.mkdir()
            for path in [chosen] if alone else [p for p in paths if p.parent == chosen.parent]:
                (case / path.name).write_bytes(contents[path])
            new = damaged(chosen.name, contents[chosen], [*contents.values()], rng)
            (case / chosen.name).write_bytes(new)
            given = case / chosen.name if alone else next(case.glob("*.json"))
            code, words = in_child(given)
            counts[["ok", "refused", "failed"][code]] += 1
            if code == FAILED:
                kept = options.failures / f"{options.seed}-{sum(counts.values())}"
                shutil.copytree(case, kept)
                print(f"{kept / given.name}: {words}", flush=True)
            shutil.rmtree(case)
            if sum(counts.values()) % 5000 == 0:
                print(dict(counts), flush=True)
    print(dict(counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

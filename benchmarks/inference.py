"""Exported graphs on ONNX Runtime against PyTorch's own layers, each in a process of its own.

`python benchmarks/inference.py [ROUNDS]` saves full-size networks with random weights, then lets
one worker after the other run the same input, round after round, on two threads; the rate of a
matrix product and the time to read the weights are measured in the same rounds. Medians and ratios
are printed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
SIZE = 2048  # of the matrices whose product is timed
# entry, batch size, FLOPs of one item come from the zoo
CASES = (
    ("ve_conv.speech-to-face", 1),
    ("ast.speech-to-face", 1),
    ("face_decoder.speech-to-face", 1),
    ("face_decoder.speech-to-face", 8),
)
Run = Callable[[], Any]


def main() -> None:
    """Act as a worker, or measure all cases."""
    if len(sys.argv) > 2:
        work(*sys.argv[1:])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory(prefix="vox2face-bench-") as folder:
        for name, batch in CASES:
            measure(name, batch, bundle(name, Path(folder)), rounds)


def bundle(name: str, folder: Path) -> Path:
    """Save a network with random weights, once."""
    import torch

    import vox2face
    from vox2face.zoo.registry import build, entry

    path = folder / name
    if not path.is_dir():
        torch.manual_seed(0)
        vox2face.save(name, build(entry(name)), path, onnx=True)
    return path


def measure(name: str, batch: int, path: Path, rounds: int) -> None:
    """Time both sides, the matrix product and the reading of the weights in turn."""
    from vox2face.zoo.registry import entry

    kinds = ("onnx", "torch", "product", "read")
    workers = {kind: start(kind, name, batch, path) for kind in kinds}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, worker in workers.items():
            times[kind].append(ask(worker))
    for worker in workers.values():
        worker.terminate()
        worker.communicate()
    median = {kind: statistics.median(values) for kind, values in times.items()}
    ratio = statistics.median(t / o for t, o in zip(times["torch"], times["onnx"], strict=True))
    rate = 2 * SIZE**3 / median["product"]
    reached = batch * entry(name).flops / median["onnx"] / rate
    print(
        f"{name}, batch {batch}: onnx {1e3 * median['onnx']:.1f} ms, torch "
        f"{1e3 * median['torch']:.1f} ms, {ratio:.2f} times as long; {reached:.0%} of the rate of "
        f"a matrix product ({rate / 1e9:.0f} GFLOP/s); reading the weights once "
        f"{1e3 * median['read']:.1f} ms",
        flush=True,
    )


def start(kind: str, name: str, batch: int, path: Path) -> subprocess.Popen[str]:
    """Start a worker and wait until it is warm."""
    command = [sys.executable, __file__, kind, name, str(batch), str(path)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    worker.stdout.readline()
    return worker


def ask(worker: subprocess.Popen[str]) -> float:
    """Let a worker run once; return its seconds."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def work(kind: str, name: str, batch: str, path: str) -> None:
    """Run once for every line that comes in, and answer with the seconds it took."""
    run = PREPARE[kind](name, int(batch), Path(path))
    for _ in range(2):
        run()
    print("warm", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        run()
        print(time.perf_counter() - begin, flush=True)


def input_of(name: str, batch: int) -> Any:
    """Return a random input of a network."""
    from vox2face.zoo.registry import entry

    shape = (batch, *map(int, entry(name).input.shape[1:]))
    return np.abs(np.random.default_rng(0).standard_normal(shape, np.float32))


def with_onnx(name: str, batch: int, path: Path) -> Run:
    """Return a run of the exported graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        str(path / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    x = input_of(name, batch)
    return lambda: session.run(None, {"input": x})


def with_torch(name: str, batch: int, path: Path) -> Run:
    """Return a run of the torch module."""
    import torch

    import vox2face

    torch.set_num_threads(THREADS)
    module, x = vox2face.load(path).module, torch.from_numpy(input_of(name, batch))

    def run() -> None:
        with torch.inference_mode():
            module(x)

    return run


def product(name: str, batch: int, path: Path) -> Run:
    """Return a run of one matrix product."""
    import torch

    torch.set_num_threads(THREADS)
    a, b = torch.rand(SIZE, SIZE), torch.rand(SIZE, SIZE)
    return lambda: a @ b


def read(name: str, batch: int, path: Path) -> Run:
    """Return a run that reads all weights in memory once."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(THREADS)
    tensors = [t.clone() for t in load_file(path / "model.safetensors").values()]
    return lambda: [t.sum() for t in tensors]


PREPARE = {"onnx": with_onnx, "torch": with_torch, "product": product, "read": read}

if __name__ == "__main__":
    main()

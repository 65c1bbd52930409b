"""A small task to train, and a driver that trains it in processes which it kills."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vox2face.core.errors import CorpusError
from vox2face.train.figures import curves
from vox2face.train.figures.curves import PER_SECOND
from vox2face.train.trainer import history, loop
from vox2face.train.trainer.distributed import whole_batch
from vox2face.train.trainer.settings import Loop, Optimizer, Plan, Schedule
from vox2face.train.trainer.task import Task, freeze

COUNT, BROKEN = 24, 5
KILLS = 2  # after which a run is left in peace
PLAN = Plan(
    Loop(seed=3, batch_size=8, log_every=2, save_every=2, evaluate_every=2, max_failures=0.2),
    Optimizer(betas=(0.5, 0.99), eps=1e-4, max_grad_norm=1.0),
    Schedule(shape="cosine", warmup=3, min_lr_ratio=0.1),
    lr=1e-2,
    epochs=4,
)


def changed(plan: Plan = PLAN, **values: Any) -> Plan:
    """Return a plan with other values of the loop or of its own."""
    own = {k: v for k, v in values.items() if hasattr(plan, k)}
    inner = {k: v for k, v in values.items() if k not in own}
    loop = Loop(**{**plan.loop.model_dump(), **inner})
    return dataclasses.replace(plan, loop=loop, **own)


class Pictures:
    """Random pictures with their mean; one of them is broken."""

    def __init__(self, broken: int | None = BROKEN, seconds: float = 0.0) -> None:
        self.broken, self.seconds = broken, seconds

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> dict[str, Any]:
        time.sleep(self.seconds)
        if index == self.broken:
            raise CorpusError(f"picture {index} is broken.")
        x = np.random.default_rng(index).standard_normal((2, 6, 6)).astype(np.float32)
        return {"x": x, "y": x.mean((1, 2)), "name": f"p{index}"}


class Toy(Task):
    """A convolution with batch normalisation, judged by a frozen net with statistics of its own."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.network = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout),
            nn.Flatten(), nn.Linear(64, 2),
        )  # fmt: skip
        self.judge = freeze(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        predicted, true = whole_batch(self.network(batch["x"])), whole_batch(batch["y"])
        judged = (self.judge(predicted) - self.judge(true)).square().mean()
        return {"mse": (predicted - true).square().mean(), "judged": judged}

    def trained(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def frozen(self) -> list[nn.Module]:
        return [self.judge]


class Noisy(Toy):
    """A toy whose items are changed at random."""

    def augment(self) -> Any:
        def add(item: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
            return {**item, "x": item["x"] + 0.1 * random.standard_normal((2, 6, 6), np.float32)}

        return add


def evaluation(task: Toy) -> Callable[[Any, int], dict[str, float]]:
    """Return what measures a toy on the first pictures."""
    x = torch.stack([torch.from_numpy(Pictures(None)[i]["x"]) for i in range(6)])

    def measure(machine: Any, step: int) -> dict[str, float]:
        assert not task.network.training and not torch.is_grad_enabled()
        return {"loss": float(task.network(x).square().mean())}

    return measure


def trained(run: Path, plan: Plan = PLAN, task: Toy | None = None, **options: Any) -> Toy:
    """Train a toy and return it."""
    task = task or Toy()
    dataset = options.pop("dataset", Pictures())
    options["log"] = options.pop("said", []).append
    accelerator = loop.create_accelerator()
    loop.train(accelerator, task, dataset, plan, run, evaluation(task), **options)
    return task


def same(run: Path, other: Path, file: str = "last.safetensors") -> bool:
    """Whether the checkpoints of two runs hold the same bits, and their histories the same rows."""
    from safetensors.numpy import load_file

    a, b = load_file(run / file), load_file(other / file)
    equal = a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    return equal and rows(run) == rows(other)


def rows(run: Path) -> list[dict[str, float]]:
    """Return the rows of a history without the times."""
    return [
        {k: v for k, v in row.items() if k != PER_SECOND}
        for row in history.read(run / history.FILE)
    ]


def forked(work: Callable[[], None], **environment: str) -> int:
    """Start a process that does some work; return its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.environ.update(environment)
        work()
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(repr(error))
        os._exit(1)


def together(processes: int, run: Path, seconds: float | None, **options: Any) -> bool:
    """Train a toy in some processes and kill them after some seconds; whether they finished."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def work() -> None:
        task = Noisy(dropout=0.0 if processes > 1 else 0.1)
        trained(run, task=task, resume=True, dataset=Pictures(seconds=0.002), **options)

    environment = {
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    pids = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        pids.append(forked(work, **({**environment, **own} if processes > 1 else {})))
    if seconds is not None:
        threading.Timer(seconds, lambda: [kill(pid) for pid in pids]).start()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return codes == [0] * processes


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def drive(folder: Path, processes: int, seed: int) -> dict[str, Any]:
    """Train once undisturbed and once killed at random moments; return what came of it."""
    import accelerate.utils  # noqa: F401  (loaded once, before the forks)
    from tensorboard.summary.writer import record_writer  # noqa: F401

    curves.draw = lambda *_: None  # what takes the longest and is tested elsewhere
    torch.set_num_threads(1)
    start = time.monotonic()
    assert together(processes, folder / "whole", None)
    whole = time.monotonic() - start
    moments = random.Random(seed)
    kills, finished = 0, False
    while not finished:
        seconds = moments.uniform(0.3, 0.9) * whole if kills < KILLS else None
        finished = together(processes, folder / "killed", seconds)
        kills += not finished
    return {"kills": kills, "same": same(folder / "whole", folder / "killed")}


if __name__ == "__main__":
    print(json.dumps(drive(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))

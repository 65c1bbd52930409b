"""The training loop: one visible function for voice encoders, face decoders and whatever comes.

It runs on one CPU core as on many GPUs and machines (`accelerate launch`, `torchrun`). The order
of the items, the learning rate and all randomness are functions of the seed and the step's number,
so that a run that was killed goes on from its last checkpoint to the very weights that it would
have had (on the same device and number of threads).
"""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vox2face.core.errors import UsageError
from vox2face.train.datasets.loader import FAILED, Batch, Drawn, Items, Shares, batches, moved
from vox2face.train.outputs import require_few
from vox2face.train.trainer import checkpoint, distributed
from vox2face.train.trainer.history import History
from vox2face.train.trainer.keeper import Keeper, State
from vox2face.train.trainer.settings import Loop, Plan, lr_multiplier
from vox2face.train.trainer.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

Evaluate = Callable[["Accelerator", int], Mapping[str, float]]
Say = Callable[[str], None]
FUSED = ("cpu", "cuda")  # devices on which an optimizer's step is one pass over memory
RATE = "full_lr"  # a group's learning rate before the schedule


def train(
    task: Task,
    items: Items,
    plan: Plan,
    run: Path,
    evaluate: Evaluate | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    resume: bool = False,
    minutes: float = math.inf,
    say: Say = print,
) -> State:
    """Train a task on items; return where the run stands at its end.

    Writes last.safetensors, best.safetensors (checkpoints with `facts`), history.csv, curves.png,
    failures.csv and TensorBoard's files into `run`. `evaluate` is called with the machine and the
    step, in eval mode and without gradients, on every process, and returns the same numbers on
    each. `resume` goes on from last.safetensors. After `minutes`, or when interrupted, the run
    saves itself and stops with `finished` False. Raises `Vox2FaceError`, the last checkpoint
    untouched.
    """
    loop, machine = plan.loop, accelerator(plan.loop)
    place = (machine.num_processes, machine.process_index, loop.grad_accum_steps)
    shares = Shares(len(items), loop.batch_size, loop.seed, *place)
    total = plan.total(shares.per_epoch)
    model, optimizer = prepared(machine, task, plan)
    known, unread = {**(facts or {}), "items": len(items)}, failures_of(evaluate)
    keeper = Keeper(run, machine, task.trained(), optimizer, known, unread)
    state = keeper.restored(plan.mode, total, resume, say)
    data = Drawn(items, loop.seed, task.augment())
    parts = batches(data, shares, state.step, total, loop.num_workers)
    history = History(run, state.step, total, machine.is_main_process, say)
    sums, deadline = Sums(machine), deadline_in(minutes)
    state.finished = state.step >= total or state.best.exhausted(loop.patience)
    with history, interruption() as interrupted:
        while not state.finished:
            seed_all(loop.seed, state.step, machine.process_index)
            rate = set_rate(optimizer, lr_multiplier(plan.schedule, state.step, total))
            for losses in update(machine, model, islice(parts, loop.grad_accum_steps), plan, state):
                sums.add(losses)
            optimizer.step()
            optimizer.zero_grad()
            state.step += 1
            history.advance(run.name, state.step, shares.size)

            epoch, rest = divmod(state.step, shares.per_epoch)
            state.finished = state.step >= total
            due = state.finished or (rest == 0 and epoch % loop.evaluate_every == 0)
            logs = due or state.step % loop.log_every == 0
            state.signal = interrupted()
            stops = agreed(machine, bool(state.signal) or time.monotonic() > deadline, logs)
            if logs or stops:
                means = sums.means()
                if not math.isfinite(means["loss"]):
                    raise keeper.diverged("loss is", state.step)
                history.add(state.step, epoch, {"lr": rate, **means}, timed=True)
            if due and evaluate:
                values = evaluated(machine, task, evaluate, state.step)
                history.add(state.step, epoch, values)
                if state.best.improved(watched(values, loop.monitor)):
                    keeper.save(checkpoint.BEST, state)
                state.finished = state.finished or state.best.exhausted(loop.patience)
            if due or stops or rest == 0 or state.step % loop.save_every == 0:
                history.save(drawn=due or stops)
                keeper.save(checkpoint.LAST, state)
            if due:
                history.tell(state.step, epoch)
            if stops:
                break
    keeper.tell(state, say)
    return state


def deadline_in(minutes: float) -> float:
    """Return when `minutes` from now are over, by the monotonic clock; refuse NaN."""
    if math.isnan(minutes):
        raise UsageError(f"--minutes {minutes}: give a number of minutes.")
    return time.monotonic() + 60 * minutes


def update(
    machine: Accelerator, model: nn.Module, parts: Iterator[Batch], plan: Plan, state: State
) -> Iterator[dict[str, Tensor]]:
    """Leave the gradients of one step's parts in the parameters; yield the losses of each part."""
    model.train()
    for number, batch in enumerate(parts, start=1):
        note_failures(state, batch.pop(FAILED), plan.loop.max_failures)
        last = number == plan.loop.grad_accum_steps
        with nullcontext() if last else machine.no_sync(model):
            losses: dict[str, Tensor] = model(moved(batch, machine.device))
            machine.backward(torch.stack(list(losses.values())).sum() / plan.loop.grad_accum_steps)
        yield {name: value.detach() for name, value in losses.items()}
    if plan.optimizer.max_grad_norm:
        machine.clip_grad_norm_(model.parameters(), plan.optimizer.max_grad_norm)


def accelerator(loop: Loop) -> Accelerator:
    """Return what knows the device, the other processes and the precision."""
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    if loop.precision == "fp16" and not torch.cuda.is_available():
        raise UsageError("loop.precision is 'fp16', which needs a GPU: use 'bf16' or 'no'.")
    AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
    together = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(
        mixed_precision=loop.precision,
        cpu=not torch.accelerator.is_available(),  # else several processes would not find together
        kwargs_handlers=[together],
    )


def prepared(machine: Accelerator, task: Task, plan: Plan) -> tuple[nn.Module, Any]:
    """Return the task, ready to be trained on the device, and its optimizer."""
    task.to(machine.device)
    for module in task.trained().values():
        distributed.with_whole_batch_norm(module)
        if plan.loop.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if plan.loop.compile:
            module.compile()
    groups = [{"lr": plan.lr, **group} for group in task.groups()]
    groups = [{**group, RATE: group["lr"]} for group in groups if group["params"]]
    if not groups:
        raise UsageError("Nothing is left to train: every parameter is frozen.")
    decay = plan.optimizer.weight_decay
    betas, eps = (plan.optimizer.betas[0], plan.optimizer.betas[1]), plan.optimizer.eps
    fused = machine.device.type in FUSED
    optimizer: torch.optim.Optimizer
    if plan.optimizer.name == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=betas[0], weight_decay=decay, fused=fused)
    else:
        kind = torch.optim.Adam if plan.optimizer.name == "adam" else torch.optim.AdamW
        optimizer = kind(groups, betas=betas, eps=eps, weight_decay=decay, fused=fused)
    return machine.prepare(task, optimizer)  # type: ignore[no-any-return]


def set_rate(optimizer: Any, part: float) -> float:
    """Set the learning rates to a part of their full values; return that of the first group."""
    for group in optimizer.param_groups:
        group["lr"] = group[RATE] * part
    return float(optimizer.param_groups[0]["lr"])


def seed_all(seed: int, step: int, process: int) -> None:
    """Seed Python, NumPy and torch (all devices) for a step."""
    words = np.random.SeedSequence((seed, step, process)).generate_state(2, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[0]) % 2**32)  # noqa: NPY002  (for code that uses the global generator)
    torch.manual_seed(int(words[1]) % 2**63)


def note_failures(state: State, failed: list[list[tuple[int, str]]], most: float) -> None:
    """Remember items that could not be read; raise `CorpusError` if they are too many."""
    found = {index: reason for each in failed for index, reason in each}
    if found:
        state.failed |= found
        require_few(state.failed, state.items, most)


class Sums:
    """The sums of the loss parts since the last row, on the device, so that nobody waits."""

    def __init__(self, machine: Accelerator) -> None:
        self.machine, self.count = machine, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of a part of a batch."""
        self.count += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value

    def means(self) -> dict[str, float]:
        """Return the means over parts and processes, the whole loss first, and start anew."""
        stacked = torch.stack(list(self.sums.values())).float() / max(1, self.count)
        means = self.machine.reduce(stacked, "mean").tolist()
        values = {"loss": sum(means), **dict(zip(self.sums, means, strict=True))}
        self.sums, self.count = {}, 0
        return values


def evaluated(machine: Accelerator, task: Task, evaluate: Evaluate, step: int) -> dict[str, float]:
    """Return the values of an evaluation as the history names them."""
    task.eval()
    with torch.no_grad(), machine.autocast():
        return {f"val_{name}": float(value) for name, value in evaluate(machine, step).items()}


def failures_of(evaluate: Evaluate | None) -> Callable[[], Mapping[int, str]]:
    """Return what gives the items that an evaluation could not read, if it keeps them."""
    return lambda: getattr(evaluate, "failed", {})


def watched(values: Mapping[str, float], monitor: str) -> float:
    """Return the value that decides which weights are best."""
    if f"val_{monitor}" not in values:
        known = ", ".join(name.removeprefix("val_") for name in values)
        raise UsageError(f"loop.monitor is {monitor!r}, the evaluation gives {known}.")
    return values[f"val_{monitor}"]


def agreed(machine: Accelerator, wish: bool, ask: bool) -> bool:
    """Return whether any process wishes to stop; several are only asked now and then."""
    if machine.num_processes == 1:
        return wish
    return ask and bool(machine.gather(torch.tensor([wish], device=machine.device)).any())


@contextmanager
def interruption() -> Iterator[Callable[[], int]]:
    """Yield what tells by which signal the run was asked to stop, Ctrl-C or SIGTERM; 0 for none.

    The step at hand is finished and saved first; a second signal acts at once.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        restore()

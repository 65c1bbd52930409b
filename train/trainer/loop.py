"""The training loop: one visible function for voice encoders, face decoders and other tasks.

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
from vox2face.train.datasets.loader import (
    FAILED,
    Batch,
    BatchSampler,
    Items,
    ReplacingDataset,
    batches,
    to_device,
)
from vox2face.train.outputs import require_few
from vox2face.train.trainer import checkpoint, distributed
from vox2face.train.trainer.checkpoint import CheckpointManager, State
from vox2face.train.trainer.history import History
from vox2face.train.trainer.settings import Loop, Plan, lr_multiplier, warmup_steps
from vox2face.train.trainer.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

Evaluate = Callable[["Accelerator", int], Mapping[str, float]]
Log = Callable[[str], None]
FUSED = ("cpu", "cuda")  # devices on which an optimizer's step is one pass over memory
FULL_LR = "full_lr"  # a group's learning rate before the schedule


def train(
    accelerator: Accelerator,
    task: Task,
    dataset: Items,
    plan: Plan,
    folder: Path,
    evaluate: Evaluate | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    resume: bool = False,
    deadline: float = math.inf,
    log: Log = print,
) -> State:
    """Train a task on a dataset; return where the run stands at its end.

    Writes last.safetensors, best.safetensors (checkpoints with `facts`), history.csv, curves.png,
    failures.csv and TensorBoard's files into `folder`. `evaluate` is called with the accelerator
    and the step, in eval mode and without gradients, on every process, and returns the same numbers
    on each. `resume` goes on from last.safetensors. After `deadline` (of `time.monotonic`, s), or
    when interrupted, the run saves itself and stops with `finished` False. Raises `Vox2FaceError`,
    the last checkpoint untouched.
    """
    loop = plan.loop
    place = (accelerator.num_processes, accelerator.process_index, loop.grad_accum_steps)
    sampler = BatchSampler(len(dataset), loop.batch_size, loop.seed, *place)
    total = plan.total(sampler.per_epoch)
    if (warmup := warmup_steps(plan.schedule, total)) < plan.schedule.warmup:
        log(
            f"The warm-up of {plan.schedule.warmup} steps is cut to {warmup}, a tenth of the phase."
        )
    model, optimizer, scaler = _prepare(accelerator, task, plan)
    manager = CheckpointManager(
        folder,
        accelerator,
        task.trained(),
        optimizer,
        scaler,
        len(dataset),
        facts or {},
        _failures_of(evaluate),
    )
    state = manager.restore(plan.mode, total, resume, log)
    items = ReplacingDataset(dataset, loop.seed, task.augment())
    parts = batches(items, sampler, state.step, total, loop.num_workers)
    history = History(folder, state.step, total, accelerator.is_main_process, log)
    meter = LossMeter(accelerator)
    state.finished = state.step >= total or state.best.exhausted(loop.patience)
    with history, _catch_signals() as caught:
        while not state.finished:
            _seed_all(loop.seed, state.step, accelerator.process_index)
            model.train()
            lr = _set_lr(optimizer, lr_multiplier(plan.schedule, state.step, total))
            for batch, last in _parts_of_step(parts, loop, state):
                with nullcontext() if last else accelerator.no_sync(model):
                    with autocast(loop, accelerator.device):
                        losses = model(to_device(batch, accelerator.device))
                    whole = torch.stack([value.float() for value in losses.values()]).sum()
                    accelerator.backward(scaler.scale(whole / loop.grad_accum_steps))
                meter.add(losses)
            if plan.optimizer.max_grad_norm:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), plan.optimizer.max_grad_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            state.step += 1
            history.advance(folder.name, state.step, sampler.size)

            epoch, rest = divmod(state.step, sampler.per_epoch)
            state.finished = state.step >= total
            due = state.finished or (rest == 0 and epoch % loop.evaluate_every == 0)
            logs = due or state.step % loop.log_every == 0
            state.signal = caught()
            stops = _agreed(accelerator, bool(state.signal) or time.monotonic() > deadline, logs)
            if logs or stops:
                means = meter.means()
                if not math.isfinite(means["loss"]):
                    raise manager.diverged("loss is", state.step)
                history.add(state.step, epoch, {"lr": lr, **means}, timed=True)
            if due and evaluate:
                task.eval()
                with torch.no_grad(), autocast(loop, accelerator.device):
                    found = evaluate(accelerator, state.step)
                values = {f"val_{name}": float(value) for name, value in found.items()}
                history.add(state.step, epoch, values)
                if state.best.improved(_monitored(values, loop.monitor)):
                    manager.save(checkpoint.BEST, state)
                state.finished = state.finished or state.best.exhausted(loop.patience)
            if due or stops or rest == 0 or state.step % loop.save_every == 0:
                history.save(drawn=due or stops)
                manager.save(checkpoint.LAST, state)
            if due:
                history.log_epoch(state.step, epoch)
            if stops:
                break
    manager.log_failures(state, log)
    return state


def _parts_of_step(
    parts: Iterator[Batch], loop: Loop, state: State
) -> Iterator[tuple[Batch, bool]]:
    """Yield the parts of one step, and whether each is the last; note what could not be read."""
    for number, batch in enumerate(islice(parts, loop.grad_accum_steps), start=1):
        failed = {index: reason for each in batch.pop(FAILED) for index, reason in each}
        if failed:
            state.failed |= failed
            require_few(state.failed, state.items, loop.max_failures)
        yield batch, number == loop.grad_accum_steps


def create_accelerator() -> Accelerator:
    """Create the Accelerator of a run; its precision is that of `autocast`."""
    from accelerate import Accelerator, DistributedDataParallelKwargs

    return Accelerator(
        mixed_precision="no",
        cpu=not torch.accelerator.is_available(),  # else several processes would not find together
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )


def check_precision(loop: Loop) -> None:
    """Raise `UsageError` for a precision that this machine does not have."""
    if loop.precision == "fp16" and not torch.cuda.is_available():
        raise UsageError("loop.precision is 'fp16', which needs a GPU: use 'bf16' or 'no'.")


def autocast(loop: Loop, device: torch.device) -> torch.autocast:
    """Return the context in which a network computes in the loop's precision."""
    kind = torch.float16 if loop.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=loop.precision != "no")


def _prepare(
    accelerator: Accelerator, task: Task, plan: Plan
) -> tuple[nn.Module, torch.optim.Optimizer, torch.amp.GradScaler]:
    """Return the task, ready to be trained on the device, its optimizer and its gradient scaler."""
    device = accelerator.device
    task.to(device)
    for module in task.trained().values():
        distributed.with_whole_batch_norm(module)
        if plan.loop.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if plan.loop.compile:
            module.compile()
    groups = [{"lr": plan.lr, **group} for group in task.groups()]
    groups = [{**group, FULL_LR: group["lr"]} for group in groups if group["params"]]
    if not groups:
        raise UsageError("Nothing is left to train: every parameter is frozen.")
    o, decay = plan.optimizer, plan.optimizer.weight_decay
    fused = device.type in FUSED
    optimizer: torch.optim.Optimizer
    if o.name == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=o.betas[0], weight_decay=decay, fused=fused)
    else:
        adam = torch.optim.Adam if o.name == "adam" else torch.optim.AdamW
        betas = (o.betas[0], o.betas[1])
        optimizer = adam(groups, betas=betas, eps=o.eps, weight_decay=decay, fused=fused)
    scaler = torch.amp.GradScaler(device.type, enabled=plan.loop.precision == "fp16")
    return accelerator.prepare_model(task), optimizer, scaler


def _set_lr(optimizer: torch.optim.Optimizer, multiplier: float) -> float:
    """Set the learning rates to a part of their full values; return that of the first group."""
    for group in optimizer.param_groups:
        group["lr"] = group[FULL_LR] * multiplier
    return float(optimizer.param_groups[0]["lr"])


def _seed_all(seed: int, step: int, process: int) -> None:
    """Seed Python, NumPy and torch (all devices) for a step."""
    words = np.random.SeedSequence((seed, step, process)).generate_state(2, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[0]) % 2**32)  # noqa: NPY002  (for code that uses the global generator)
    torch.manual_seed(int(words[1]) % 2**63)


class LossMeter:
    """The sums of the loss parts since the last row, kept on the device to avoid a sync."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator, self.count = accelerator, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of a part of a batch."""
        self.count += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value.detach()

    def means(self) -> dict[str, float]:
        """Return the means over parts and processes, the total loss first, and reset."""
        stacked = torch.stack(list(self.sums.values())).float() / max(1, self.count)
        means = self.accelerator.reduce(stacked, "mean").tolist()
        values = {"loss": sum(means), **dict(zip(self.sums, means, strict=True))}
        self.sums, self.count = {}, 0
        return values


def _failures_of(evaluate: Evaluate | None) -> Callable[[], Mapping[int, str]]:
    """Return what gives the items that an evaluation could not read, if it keeps them."""
    return lambda: getattr(evaluate, "failed", {})


def _monitored(values: Mapping[str, float], monitor: str) -> float:
    """Return the value that decides which weights are best."""
    if f"val_{monitor}" not in values:
        known = ", ".join(name.removeprefix("val_") for name in values)
        raise UsageError(f"loop.monitor is {monitor!r}, the evaluation gives {known}.")
    return values[f"val_{monitor}"]


def _agreed(accelerator: Accelerator, wish: bool, ask: bool) -> bool:
    """Return whether any process wishes to stop; several are only asked now and then."""
    if accelerator.num_processes == 1:
        return wish
    return ask and bool(accelerator.gather(torch.tensor([wish], device=accelerator.device)).any())


@contextmanager
def _catch_signals() -> Iterator[Callable[[], int]]:
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

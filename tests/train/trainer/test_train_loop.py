"""The loop trains what is to be trained, stops when it should, and survives being killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import HELPERS
from helpers.toy_training import (
    BROKEN,
    COUNT,
    PLAN,
    Noisy,
    Pictures,
    Toy,
    changed,
    evaluation,
    rows,
    same,
    trained,
)
from PIL import Image

from vox2face.core.errors import CorpusError, UsageError, Vox2FaceError, WeightFileError
from vox2face.train.datasets.loader import BatchSampler
from vox2face.train.figures import curves
from vox2face.train.trainer import checkpoint, history, loop
from vox2face.train.trainer.settings import EarlyStopping, Schedule, lr_multiplier

DRIVER = HELPERS / "toy_training.py"


def train(*arguments: Any, log: Callable[[str], None] = lambda line: None, **more: Any) -> Any:
    """Train as the loop does, on this machine, and say nothing."""
    return loop.train(loop.create_accelerator(), *arguments, log=log, **more)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Draw no curves, which takes the longest, but where they are looked at."""
    if "curves" not in request.node.name:
        monkeypatch.setattr(curves, "draw", lambda rows, path: None)


@pytest.fixture
def drive(python: Callable[..., str], tmp_path: Path) -> Callable[[int, int], dict[str, Any]]:
    """Return a function that kills processes which train until they get to the end."""

    def run(processes: int, seed: int) -> dict[str, Any]:
        script = "import runpy, sys; sys.argv = sys.argv[1:]; "
        script += "runpy.run_path(sys.argv[0], run_name='__main__')"
        told = python(script, DRIVER, tmp_path, processes, seed, OMP_NUM_THREADS="1")
        result: dict[str, Any] = json.loads(told)
        return result

    return run


@pytest.mark.long
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(
    drive: Callable[[int, int], dict[str, Any]],
) -> None:
    result = drive(1, 4)
    assert result["kills"] >= 1
    assert result["same"]


@pytest.mark.long
def test_two_processes_give_the_curve_of_one_and_survive_being_killed(
    drive: Callable[[int, int], dict[str, Any]], tmp_path: Path
) -> None:
    result = drive(2, 4)
    assert result["kills"] >= 1
    assert result["same"]
    trained(tmp_path / "one", task=Noisy(dropout=0.0), dataset=Pictures())
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "whole"), strict=True):
        assert one == pytest.approx(two, abs=2e-5, rel=2e-5)


def test_a_run_stopped_by_a_signal_saves_itself_and_goes_on(tmp_path: Path) -> None:
    class Stopping(Pictures):
        def __getitem__(self, index: int) -> dict[str, Any]:
            if index == 11 and not (tmp_path / "asked").exists():
                (tmp_path / "asked").touch()
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__getitem__(index)

    before = signal.getsignal(signal.SIGTERM)
    task = Toy()
    state = train(
        task,
        Stopping(),
        PLAN,
        tmp_path / "a",
        evaluation(task),
        log=lambda _: None,
    )
    assert 0 < state.step < 12 and not state.finished and state.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    trained(tmp_path / "a", resume=True)
    trained(tmp_path / "b")
    assert same(tmp_path / "a", tmp_path / "b")


def test_frozen_networks_keep_every_tensor_and_pass_gradients_to_their_input(
    tmp_path: Path,
) -> None:
    class Judged(Toy):
        def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
            return {"judged": super().forward(batch)["judged"]}

    task = Judged()
    judge = {k: v.clone() for k, v in task.judge.state_dict().items()}
    network = {k: v.clone() for k, v in task.network.state_dict().items()}
    trained(tmp_path / "run", task=task)
    assert all(torch.equal(judge[k], v) for k, v in task.judge.state_dict().items())
    assert any(not torch.equal(network[k], v) for k, v in task.network.state_dict().items())
    task.train()
    assert task.network.training and not task.judge.training


def test_accumulated_parts_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    class Mean(Toy):
        def __init__(self) -> None:
            super().__init__(dropout=0.0)
            self.network[1].eval()  # statistics of a part are not those of the whole

        def train(self, mode: bool = True) -> Mean:
            super().train(mode)
            self.network[1].eval()
            return self

    whole = trained(tmp_path / "a", task=Mean())
    parts = trained(tmp_path / "b", changed(grad_accum_steps=4), task=Mean())
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_workers_change_nothing(tmp_path: Path) -> None:
    trained(tmp_path / "a", changed(epochs=1), task=Noisy())
    trained(tmp_path / "b", changed(epochs=1, num_workers=1), task=Noisy())
    assert same(tmp_path / "a", tmp_path / "b")


def test_bfloat16_and_channels_last_train_too(tmp_path: Path) -> None:
    trained(tmp_path / "a", changed(precision="bf16", channels_last=True))
    trained(tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "b")
    last = rows(tmp_path / "a")[-1]["val_loss"]
    assert last == pytest.approx(rows(tmp_path / "b")[-1]["val_loss"], rel=0.5)


def test_unreadable_items_are_listed_and_replaced(tmp_path: Path) -> None:
    said: list[str] = []
    trained(tmp_path / "run", said=said)
    file = tmp_path / "run" / "failures.csv"
    assert file.read_text() == f"split,item,reason\ntrain,{BROKEN},picture {BROKEN} is broken.\n"
    assert "1 of the items that are trained on could not be read" in said[-1]
    assert f"picture {BROKEN} is broken. All are listed in {file}." in said[-1]


def test_unreadable_items_of_the_evaluation_are_listed_too(tmp_path: Path) -> None:
    class Measured:
        failed: dict[int, str] = {}

        def __call__(self, machine: Any, step: int) -> dict[str, float]:
            self.failed[3] = "clip 3 is broken."
            return {"loss": 1.0}

    said: list[str] = []
    train(
        Toy(),
        Pictures(None),
        PLAN,
        tmp_path,
        Measured(),
        log=said.append,
    )
    assert (tmp_path / "failures.csv").read_text() == "split,item,reason\nval,3,clip 3 is broken.\n"
    assert "1 of the items that are measured on could not be read" in said[-1]


def test_too_many_unreadable_items_end_the_run_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"1 of 24 items cannot be read.*picture 5 is broken"):
        trained(tmp_path / "a", changed(max_failures=0.01))

    class Broken(Pictures):
        def __getitem__(self, index: int) -> dict[str, Any]:
            raise CorpusError(f"picture {index} is broken.")

    for workers in (0, 1):
        with pytest.raises(CorpusError, match=r"^20 items drawn one after the other.*broken\.$"):
            trained(tmp_path / f"b{workers}", changed(num_workers=workers), dataset=Broken())


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(Vox2FaceError, match=r"no number any more at step.*start again in another"):
        trained(tmp_path / "run", changed(lr=float("inf")))
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    class Breaking(Toy):
        steps = 0

        def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
            self.steps += 1
            losses = super().forward(batch)
            return {k: v * float("nan") if self.steps == 4 else v for k, v in losses.items()}

    plan = changed(log_every=100, save_every=1)
    with pytest.raises(Vox2FaceError, match=r"weights are no number.*step 4.*--resume from step 3"):
        trained(tmp_path / "run", plan, task=Breaking())
    tensors, facts = checkpoint.read(tmp_path / "run" / "last.safetensors")
    assert facts.step == 3 and all(tensor.isfinite().all() for tensor in tensors.values())


def test_fewer_steps_than_done_are_refused(tmp_path: Path) -> None:
    trained(tmp_path / "run", changed(steps=4))
    with pytest.raises(UsageError, match="has done 4 steps and 3 are asked for"):
        trained(tmp_path / "run", changed(steps=3), resume=True)


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "run", changed(steps=4))
    before = (tmp_path / "run" / "last.safetensors").read_bytes()

    def full(*_: Any) -> None:
        raise checkpoint.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(Vox2FaceError, match="the disk is full"):
        trained(tmp_path / "run", changed(steps=8), resume=True)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_a_folder_with_a_run_is_only_gone_on_with_on_request(tmp_path: Path) -> None:
    trained(tmp_path / "run", changed(epochs=1))
    with pytest.raises(UsageError, match="--resume"):
        trained(tmp_path / "run", changed(epochs=1))
    with pytest.raises(UsageError, match=f"trained on {COUNT} items and these are 8"):

        class Fewer(Pictures):
            def __len__(self) -> int:
                return 8

        trained(tmp_path / "run", resume=True, dataset=Fewer())


def test_more_epochs_make_a_finished_run_go_on(tmp_path: Path) -> None:
    plan = {"schedule": Schedule()}
    trained(tmp_path / "a", changed(epochs=2, **plan))
    trained(tmp_path / "a", changed(epochs=4, **plan), resume=True)
    trained(tmp_path / "b", changed(epochs=4, **plan))
    assert same(tmp_path / "a", tmp_path / "b")


def test_a_checkpoint_of_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    trained(tmp_path / "run", changed(epochs=1))
    other = Toy()
    other.network[5] = torch.nn.Linear(64, 3)
    with pytest.raises(UsageError, match=r"another architecture: model/network/5\.bias"):
        trained(tmp_path / "run", resume=True, task=other)


def test_damaged_checkpoints_are_told_apart_from_missing_ones(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightFileError, match="damaged"):
        trained(run, resume=True)


def test_early_stopping_is_exact(tmp_path: Path) -> None:
    values = iter([3.0, 2.0, 2.5, 2.0, float("nan"), 1.0])
    task = Toy()
    plan = changed(epochs=9, evaluate_every=1, patience=3)
    measure = lambda accelerator, step: {"loss": next(values)}  # noqa: E731
    state = train(task, Pictures(), plan, tmp_path, measure)
    assert state.step == 5 * 3 and state.finished
    assert checkpoint.read(tmp_path / "best.safetensors")[1].step == 2 * 3
    again = train(task, Pictures(), plan, tmp_path, resume=True, log=lambda _: None)
    assert again.step == 15 and again.finished


def test_best_counts_and_forgets() -> None:
    best = EarlyStopping("max")
    assert [best.improved(v) for v in (1.0, 1.0, 2.0, 0.0)] == [True, False, True, False]
    assert best.since == 1 and not best.exhausted(0) and not best.exhausted(2)
    assert not best.improved(float("nan")) and best.exhausted(2)


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ("constant", {0: 0.25, 1: 0.5, 3: 1.0, 100: 1.0}),
        ("decay", {3: 1.0, 9: 1.0, 10: 0.5, 19: 0.5, 20: 0.25}),
        ("cosine", {3: 1.0, 51: 0.55, 99: 0.1}),
    ],
)
def test_the_learning_rate_is_a_function_of_the_step(shape: str, values: dict[int, float]) -> None:
    schedule = Schedule(shape=shape, gamma=0.5, step_size=10, warmup=3, min_lr_ratio=0.1)
    for step, value in values.items():
        assert lr_multiplier(schedule, step, 100) == pytest.approx(value)


def test_a_warm_up_takes_at_most_a_tenth_of_a_run() -> None:
    schedule = Schedule(warmup=100)
    assert [lr_multiplier(schedule, step, 20) for step in range(4)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 1]
    )
    assert lr_multiplier(schedule, 9, 5) == 1


def test_unknown_schedules_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'constant', 'decay' or 'cosine'"):
        Schedule(shape="linear")


def test_processes_and_parts_share_the_batch_of_one_process() -> None:
    one = list(BatchSampler(10, 4, 7).keys(0, 5))
    shared = [BatchSampler(10, 4, 7, 2, rank, 2) for rank in (0, 1)]
    parts = [list(shares.keys(0, 5)) for shares in shared]
    for step, whole in enumerate(one):
        got = [key for rank in (0, 1) for p in (0, 1) for key in parts[rank][2 * step + p]]
        assert got == whole
    assert list(BatchSampler(10, 4, 7).keys(3, 5)) == list(BatchSampler(10, 4, 7).keys(0, 5))[3:]
    epoch = [index for keys in list(BatchSampler(8, 4, 7).keys(2, 4)) for _, index in keys]
    assert sorted(epoch) == list(range(8))


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 3"):
        BatchSampler(100, 8, 0, 3)


@pytest.mark.long
def test_history_curves_and_tensorboard_tell_the_same(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    said: list[str] = []
    trained(tmp_path, said=said)
    found = history.read(tmp_path / "history.csv")
    assert [r["step"] for r in found if "val_loss" in r] == [6, 12]
    assert all(r["loss"] == pytest.approx(r["mse"] + r["judged"]) for r in found if "mse" in r)
    assert said.pop(0) == "The warm-up of 3 steps is cut to 1, a tenth of the phase."
    assert len(said) == 3 and "12/12" in said[1] and "val_loss" in said[1]
    with Image.open(tmp_path / "curves.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    file = next((tmp_path / "tensorboard").iterdir())
    events = [e for e in EventFileLoader(str(file)).Load() if e.HasField("summary")]
    losses = {e.step: v.tensor.float_val or v.simple_value for e in events
              for v in e.summary.value if v.tag == "val_loss"}  # fmt: skip
    assert losses.keys() == {6, 12}


def test_time_that_is_up_stops_the_run_resumably(tmp_path: Path) -> None:
    trained(tmp_path / "a", deadline=0.0)
    assert checkpoint.read(tmp_path / "a" / "last.safetensors")[1].step == 1
    trained(tmp_path / "a", resume=True)
    trained(tmp_path / "b")
    last = [checkpoint.read(tmp_path / run / "last.safetensors")[0] for run in "ab"]
    assert all(torch.equal(last[0][k], last[1][k]) for k in last[0])


def test_an_unknown_metric_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the evaluation gives loss"):
        trained(tmp_path, changed(monitor="recall"))

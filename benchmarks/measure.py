"""Run commands as whole processes and account for them: wall seconds and peak memory."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Wall seconds and peak resident memory (bytes, memory-mapped files included)."""

    seconds: float
    memory: int


def run(command: Sequence[str]) -> Cost:
    """Run one command from the start of its process to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said.decode()[-2000:]}")
    return Cost(time.perf_counter() - start, usage.ru_maxrss * 1024)


def alternate(
    commands: Mapping[str, Sequence[str]], rounds: int, remove: Sequence[Path] = ()
) -> dict[str, Cost]:
    """Run all commands in turn, round after round; return the medians by name.

    What is named in `remove` is deleted before every run, outside the measurement.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            for path in remove:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            costs[name].append(run(command))
            last = costs[name][-1]
            print(
                f"  round {number + 1} {name:<34} {last.seconds:7.2f} s {last.memory / 1e6:7.0f} MB"
            )
    return {
        name: Cost(
            statistics.median(c.seconds for c in each),
            int(statistics.median(c.memory for c in each)),
        )
        for name, each in costs.items()
    }

"""The command as a process: without streams, without readers, interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
VOX2FACE = str(Path(sys.executable).with_name("vox2face"))
CONVERT = "convert face-api --no-onnx --verify none --out"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("redirected", "code"), [("| true", 0), ("<&- >&- 2>&-", 0), ("> /dev/full", 1)]
)
def test_a_conversion_outlives_its_standard_output(
    tmp_path: Path, redirected: str, code: int
) -> None:
    done = shell(f"{VOX2FACE} {CONVERT} out {redirected}", tmp_path)
    assert done.returncode == code
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("README.md", "config.json", "model.safetensors", "parity.json")
    ]
    said = "Error: Standard output cannot be written (No space left on device).\n"
    assert done.stderr == (said if code else "")


def test_what_nobody_reads_to_its_end_is_no_failure(tmp_path: Path) -> None:
    done = shell(f"{VOX2FACE} zoo list | head -1", tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("NAME")
    assert shell(f"{VOX2FACE} zoo show nothing 2>&-", tmp_path).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_and_its_processes_quietly_with_its_code(
    tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    line = [VOX2FACE, "data", "synth", "--out", str(out), "--identities", "200", "--jobs", "2"]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (out / "corpus.json").exists():  # its processes start now
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, number)  # the command and its children, as a terminal does
    assert process.communicate() == ("", "")  # which waits for all of them
    assert process.returncode == 128 + number


def test_ctrl_c_is_answered_alike_while_the_command_is_imported() -> None:
    script = """
import builtins, runpy, signal, subprocess, sys
real = builtins.__import__
def importing(name, *rest, **more):
    if name == "click":
        signal.raise_signal(signal.SIGINT)
    return real(name, *rest, **more)
builtins.__import__ = importing
sys.argv = ["vox2face", "zoo", "list"]
runpy.run_module("vox2face", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGINT and done.stderr == ""  # 130, as a shell has it


def test_an_interrupt_inside_a_command_is_130(inside: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vox2face.cli.zoo.list_models", stop)
    done = inside("zoo", "list")
    assert (done.returncode, done.stdout + done.stderr) == (130, "")

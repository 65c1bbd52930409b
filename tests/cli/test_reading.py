"""Files at which a run dies, which the next run leaves out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from vox2face.media.image import samples

Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Path]
FREE = "dlib_resnet128.dlib"


DYING = """
import os, sys
from pathlib import Path
from vox2face.cli.reading import Reading
with Reading(Path(sys.argv[1])).of(Path(sys.argv[2])):
    os._exit(0)  # as a codec that crashes
"""


def test_a_picture_at_which_a_run_died_is_left_out_until_it_is_asked_for(
    inside: Run, bundle: Make, tmp_path: Path, python: Callable[..., str]
) -> None:
    models = ("--face", FREE, "--decoder", bundle("face_decoder.cole", width=128, onnx=False))
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    for name, pixels in samples().items():
        Image.fromarray(pixels).save(given / name)
    out.mkdir()
    python(DYING, out, given / "head.png")
    (note,) = out.iterdir()
    for _ in range(2):
        done = inside("face2face", given, *models, "--output", out)
        assert done.returncode == 1
        assert "head.png is left out, since a run was killed or crashed" in done.stderr
        assert f"delete {note} to try it again" in " ".join(done.stderr.split())
        assert sorted(out.iterdir()) == sorted([note, out / "astronaut.png"])
    done = inside("face2face", given, *models, "--output", out, "--force")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted(samples())


def test_a_recording_at_which_a_run_died_is_left_out_until_its_note_is_deleted(
    inside: Run,
    bundle: Make,
    wav: Callable[..., Path],
    tmp_path: Path,
    python: Callable[..., str],
) -> None:
    voice, out = bundle("ve_conv.tiny", onnx=False), tmp_path / "made" / "e.csv"
    good, bad = wav("good.wav"), wav("bad.wav", 9000)
    out.parent.mkdir()
    python(DYING, out.parent, bad)
    (note,) = out.parent.iterdir()
    done = inside("embed", good, bad, "--model", voice, "--output", out)
    assert done.returncode == 1 and str(note) in done.stderr
    assert [line.partition(",")[0] for line in out.read_text().splitlines()] == ["audio", str(good)]
    models = ("--voice", voice, "--decoder", bundle("face_decoder.cole", onnx=False))
    done = inside("speech2face", good, bad, *models, "--output", out.parent)
    assert done.returncode == 1 and str(note) in done.stderr
    assert "1 faces written, 1 failed" in done.stdout
    note.unlink()
    assert inside("embed", good, bad, "--model", voice, "--output", out).returncode == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["e.csv", "good.png"]

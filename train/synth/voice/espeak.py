"""Sentences from the program espeak-ng: robotic voices, but faster than WORLD.

The program (GPL-3) is called once a clip, with a voice file written for it; nothing of it is
linked or shipped. Source of the file's words: docs/voices.md of espeak-ng 1.51.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio
from vox2face.train.synth.voice.render import F0_SPREAD, RATE_SPREAD, TILT_UNIT, in_a_room
from vox2face.train.synth.voice.traits import Voice

PROGRAM = "espeak-ng"
LANGUAGE = ("language en-us", "phonemes en-us", "dictionary en", "dictrules 3 6")
WORDS = 175  # a minute, for a rate of 1
RISE = 1.3  # from the lowest to the highest pitch of a sentence
MEDIAN = 1.15  # the median lies that much above the lowest
FORMANTS = range(1, 9)
FEMALE = 1.13  # formants of women over those of men, whom espeak-ng's defaults are
SPREAD = 0.05  # of the log of single formants, from one base voice to another
TONE = ((600, 170), (1200, 135), (2000, 110))  # Hz and amplitude: espeak-ng's default
FLUTTER = (1.0, 450.0)  # least, and for each jitter of 1
BREATH = 60  # strength for a breath of 1
SECONDS = 60  # after which a program that hangs is given up


def espeak_clip(text: str, voice: Voice, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a sentence in a voice: float32 (samples,), 16 kHz, -1..1.

    Of the base voice only the name is used: it shifts single formants, and a name that begins
    with "f" is a woman's. `rng` draws what differs between clips, as in `render_voice`.

    Raises `UsageError` if there is no espeak-ng, `CorpusError` if it fails.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise UsageError(
            f"The fast voices need the program {PROGRAM}, which is not on the PATH: install it "
            f"(Debian: apt install {PROGRAM}) or use the voices of WORLD."
        )
    pitch = math.exp(rng.uniform(-F0_SPREAD, F0_SPREAD))
    pace = math.exp(rng.uniform(-RATE_SPREAD, RATE_SPREAD))
    with tempfile.TemporaryDirectory() as folder:
        definition, clip = Path(folder) / "voice", Path(folder) / "clip.wav"
        definition.write_text(voice_file(voice, pitch), "utf-8")
        run(arguments(program, definition, clip, voice.rate * pace, text))
        spoken = audio.decode(clip)
    return in_a_room(spoken.astype(np.float64), rng)


def arguments(program: str, definition: Path, clip: Path, rate: float, text: str) -> list[str]:
    """Return the command that speaks a text into a file; -z leaves out the pause at its end."""
    speed = str(round(WORDS * rate))
    voice = ["--load", "-v", str(definition)]
    return [program, *voice, "-s", speed, "-z", "-w", str(clip), "--", text]


def run(command: list[str]) -> None:
    """Run the program. Raises `CorpusError` if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        reason = "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        failed, reason = True, str(error)
    if failed:
        raise CorpusError(
            f"{PROGRAM} failed ({reason or 'no reason given'}): version 1.51 is known to work."
        )


def voice_file(voice: Voice, pitch: float) -> str:
    """Return the definition of a voice in espeak-ng's words."""
    lowest = voice.f0 * pitch / MEDIAN
    seed = int.from_bytes(hashlib.sha256(voice.base.encode()).digest()[:8], "little")
    shifts = np.exp(SPREAD * np.random.default_rng(seed).normal(size=len(FORMANTS)))
    size = 100 * voice.alpha * (FEMALE if voice.base.startswith("f") else 1)
    least, each = FLUTTER
    tone = " ".join(f"{hertz} {round(tilted(hertz, voice) * height)}" for hertz, height in TONE)
    breath = " ".join(str(round(BREATH * voice.breath * k / 8)) for k in FORMANTS)
    lines = (
        "name vox2face",
        *LANGUAGE,
        f"pitch {round(lowest)} {round(RISE * lowest)}",
        *(f"formant {k} {round(size * shifts[k - 1])} 100 100" for k in FORMANTS),
        f"flutter {round(least + each * voice.jitter)}",
        f"tone {tone}",
        f"breath {breath}",
    )
    return "\n".join(lines) + "\n"


def tilted(hertz: float, voice: Voice) -> float:
    """Return the factor on an amplitude that the spectral tilt makes at a frequency."""
    return min(math.exp(voice.tilt * TILT_UNIT / 2 * hertz / (audio.RATE / 2)), 1.5)

"""Make a bank of base voices: every voice says every sentence, once.

A folder `VOICE/SENTENCE.flac` (mono, 16 kHz) is written file by file; `unfinished.json` holds the
plan, and `bank.json` replaces it when all files exist. A run that was killed goes on where it
stopped, and its result is that of one run, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core import files
from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio
from vox2face.train.outputs import claim
from vox2face.train.synth.bank import kokoro, recipe
from vox2face.train.synth.bank.bank import (
    BANK,
    LICENCE,
    MARK,
    UNFINISHED,
    default_folder,
    fingerprint,
    read_bank,
)
from vox2face.train.synth.bank.flac import flac
from vox2face.train.workers import map_unordered

DECIBELS = -23.0  # RMS
FRAME = 0.01  # s
QUIET = 10 ** (-40 / 20)  # of the loudest frame; below it, the ends are silence
MARGIN = 3  # frames of silence that are kept
LEAST_BITS = 8
BYTES = 80_000  # an upper bound for a recording
COMMENT = "synthetic voice, no person: made by vox2face with Kokoro-82M"
HOW = (
    "Every voice is a mixture of style packs of Kokoro-82M, timbre and prosody mixed apart; the "
    "network says each sentence once, silence at the ends is cut, the level set to -23 dB RMS. "
    "Style packs are shared by the groups; mixtures and sentences are not."
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recording:
    """One file to make: its path, the sentence as tokens, the voice as a style (1, 256)."""

    path: Path
    tokens: list[int]
    style: NDArray[np.float32]
    bits: int


def build_bank(
    out: Path | None = None,
    *,
    seed: int = 0,
    voices: int = recipe.VOICES,
    sentences: int = recipe.SENTENCES,
    bits: int = 16,
    jobs: int = 1,
    model: Path | None = None,
    style_packs: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Make a bank, or finish one that was started, and return its folder.

    `voices` is even, half of each sex; `bits` below 16 round the samples, which makes the files
    smaller; `jobs` is the number of processes. `model` and `style_packs`: see `kokoro`. Without
    `out` the bank is in the cache, where `open_bank("full")` finds it.

    Raises `UsageError` for numbers that are not valid or missing packages; `CorpusError`
    if the folder holds something else, or another bank.
    """
    _check_numbers(seed, voices, sentences, bits, jobs)
    out = default_folder(seed, voices, sentences, bits) if out is None else out
    if (out / BANK).exists():
        return check_finished(out, seed, voices, sentences, bits)
    kokoro.model(model)  # raises before anything is written
    phonemes = kokoro.phonemes([sentence.text for sentence in recipe.sentences(sentences)])
    plan = _plan(seed, voices, sentences, bits, phonemes)
    claim(out, UNFINISHED, plan)
    recordings = _recordings(out, plan, kokoro.styles(style_packs))
    missing = [recording for recording in recordings if not recording.path.exists()]
    files.require_space(out, len(missing) * BYTES, "A bank of voices")
    count = len(recordings) - len(missing)
    progress(count, len(recordings))
    for _ in map_unordered(jobs, make_recording, missing, _load_speaker, model, what="recordings"):
        progress(count := count + 1, len(recordings))
    write_description(out, plan, recordings)
    return out


def _check_numbers(seed: int, voices: int, sentences: int, bits: int, jobs: int) -> None:
    """Raise `UsageError` for numbers that are not valid."""
    if seed < 0:
        raise UsageError(f"A seed is 0 or more, not {seed}.")
    if voices < 2 or voices % 2:
        raise UsageError(f"A bank has as many women as men: ask for 2, 4, ..., not {voices}.")
    if not 1 <= sentences <= recipe.SENTENCES:
        raise UsageError(f"There are {recipe.SENTENCES} sentences: ask for 1 to that many.")
    if not LEAST_BITS <= bits <= 16:
        raise UsageError(f"Samples have {LEAST_BITS} to 16 bits, not {bits}.")
    if jobs < 1:
        raise UsageError(f"{jobs} processes are not valid: ask for 1 or more.")


def _plan(seed: int, voices: int, sentences: int, bits: int, phonemes: list[str]) -> dict[str, Any]:
    """Return the content of `bank.json` that is known before any recording is made."""
    texts = recipe.sentences(sentences)
    return {
        "format": MARK,
        "version": recipe.VERSION,
        "synthetic": True,
        "how": HOW,
        "licence": LICENCE,
        "seed": seed,
        "rate": audio.RATE,
        "bits": bits,
        "packages": packages(),
        "voices": [asdict(voice) for voice in recipe.voices(voices, seed)],
        "sentences": [
            {**asdict(text), "phonemes": line} for text, line in zip(texts, phonemes, strict=True)
        ],
    }


def packages() -> dict[str, dict[str, str]]:
    """Return versions, and sha256 where known, of all packages that the samples depend on."""
    parts = {"version": kokoro.PART_VERSION, "holds": kokoro.MODEL, "sha256": kokoro.MODEL_SHA256}
    styles = {"version": kokoro.STYLES_VERSION, "holds": "voices/*.bin"}
    return {
        f"{kokoro.PARTS[0]} to 4": parts,
        f"{kokoro.STYLES} (npm)": {**styles, "sha256": kokoro.STYLES_SHA256},
        **{name: {"version": metadata.version(name)} for name in ("hibari-tts", "onnxruntime")},
        **{name: {"version": metadata.version(name)} for name in ("av", "numpy")},
    }


def check_finished(out: Path, seed: int, voices: int, sentences: int, bits: int) -> Path:
    """Return the folder of a complete bank. Raises `CorpusError` if it is another bank."""
    bank = read_bank(out)
    expected = (seed, voices, sentences, bits)
    actual = (bank["seed"], len(bank["voices"]), len(bank["sentences"]), bank["bits"])
    if expected != actual:
        sizes = "seed {}, {} voices, {} sentences, {} bits"
        raise CorpusError(
            f"{out} holds a bank of {sizes.format(*actual)}, not of {sizes.format(*expected)}: "
            "choose another folder."
        )
    (out / UNFINISHED).unlink(missing_ok=True)
    return out


def _recordings(out: Path, plan: dict[str, Any], packs: kokoro.Styles) -> list[Recording]:
    """Return all recordings to make, voice by voice, women and men in turn."""
    sentences = [(text["name"], kokoro.tokens(text["phonemes"])) for text in plan["sentences"]]
    return [
        Recording(
            out / voice["name"] / f"{name}.flac",
            numbers,
            kokoro.mixed(packs, voice["timbre"], voice["prosody"], len(numbers)),
            plan["bits"],
        )
        for voice in sorted(plan["voices"], key=lambda voice: voice["name"][1:])
        for name, numbers in sentences
    ]


SPEAKER: list[kokoro.Speaker] = []  # of this process


def _load_speaker(path: Path | None) -> None:
    """Load the network in this process."""
    SPEAKER[:] = [kokoro.speaker(kokoro.model(path))]


def make_recording(recording: Recording) -> None:
    """Synthesise a sentence, trim it, set its level and write it."""
    speech = _trimmed(SPEAKER[0](recording.tokens, recording.style), kokoro.RATE)
    waveform = audio.level(audio.decode(speech, kokoro.RATE), DECIBELS)
    step = 1 << (16 - recording.bits)
    pcm = np.rint(waveform * (audio.FULL_SCALE / step)) * step
    pcm = np.clip(pcm, -audio.FULL_SCALE, audio.FULL_SCALE - step).astype(np.int16)
    with files.atomic_file(recording.path) as partial:
        partial.write_bytes(flac(pcm, COMMENT))


def _trimmed(waveform: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Trim both ends that are 40 dB below the loudest 10 ms, except 30 ms."""
    size = int(FRAME * rate)
    count = len(waveform) // size
    power = np.square(waveform[: count * size].reshape(count, size)).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * QUIET**2)
    first, last = max(0, int(loud[0]) - MARGIN), int(loud[-1]) + 1 + MARGIN
    return waveform[first * size : last * size]


def write_description(out: Path, plan: dict[str, Any], recordings: list[Recording]) -> None:
    """Write `bank.json` with the hash of every file, and remove `unfinished.json`."""
    table = {r.path.relative_to(out).as_posix(): files.sha256(r.path) for r in recordings}
    _write_json(out / BANK, {**plan, "files": table, "fingerprint": fingerprint(table)})
    (out / UNFINISHED).unlink(missing_ok=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON as a whole or not at all."""
    with files.atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")

"""Banks of base voices: folders with `VOICE/SENTENCE.flac` and a description, `bank.json`.

| key of bank.json     | what                                                                   |
|----------------------|------------------------------------------------------------------------|
| format, version      | "vox2face-bank", 1                                                     |
| synthetic, how       | true; how the recordings were made                                     |
| licence              | of the recordings                                                      |
| seed, rate, bits     | of the mixtures; 16000 Hz; 16, or less where samples are rounded       |
| packages             | versions, and sha256 where known, of all that decides about samples    |
| voices               | name, sex ("f", "m"), group ("train", "val", "test"), timbre, prosody  |
| sentences            | name, text, group, phonemes                                            |
| files                | the sha256 of every recording                                          |
| fingerprint          | the sha256 of that table                                               |
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core import files
from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio
from vox2face.train.synth.bank import recipe
from vox2face.train.synth.voice.analysis import VERSION as ANALYSIS_VERSION
from vox2face.train.synth.voice.analysis import Analysis, analyse, load, save

BANK, UNFINISHED = "bank.json", "unfinished.json"
MARK = "vox2face-bank"
LICENCE = (
    "MIT, as vox2face; made with Kokoro-82M, whose weights and style packs are under Apache-2.0"
)
KEYS = ("how", "licence", "seed", "rate", "bits", "voices", "sentences", "files", "fingerprint")
AGAIN = "make it again with vox2face data bank"


@dataclass(frozen=True)
class Bank:
    """A bank of base voices: its folder, and the content of its `bank.json`."""

    folder: Path
    info: Mapping[str, Any]

    @property
    def licence(self) -> str:
        """The licence of the recordings."""
        return str(self.info["licence"])

    @property
    def fingerprint(self) -> str:
        """The sha256 over the hashes of all recordings, by which a corpus names its bank."""
        return str(self.info["fingerprint"])

    @property
    def description(self) -> str:
        """The size of the bank and how it was made, in one sentence."""
        count = f"{len(self.info['voices'])} voices x {len(self.info['sentences'])} sentences"
        return f"{count} (seed {self.info['seed']}, {self.fingerprint[:12]}). {self.info['how']}"

    def voices(self, sex: str | None = None, group: str | None = None) -> tuple[str, ...]:
        """Return the names of the voices of a sex ("f", "m") and group; None takes all."""
        return tuple(
            voice["name"]
            for voice in self.info["voices"]
            if sex in (None, voice["sex"]) and group in (None, voice["group"])
        )

    def sentences(self, group: str | None = None) -> tuple[str, ...]:
        """Return the names of the sentences of a group ("train", "val", "test"; None: all)."""
        return tuple(s["name"] for s in self.info["sentences"] if group in (None, s["group"]))

    def text(self, sentence: str) -> str:
        """Return the text of a sentence. Raises `UsageError` if the bank does not have it."""
        texts = {s["name"]: str(s["text"]) for s in self.info["sentences"]}
        if sentence not in texts:
            raise UsageError(f"The bank has no sentence {sentence}: it has {', '.join(texts)}.")
        return texts[sentence]

    def recording(self, voice: str, sentence: str) -> NDArray[np.float32]:
        """Return a voice saying a sentence: float32 (samples,), 16 kHz, -23 dB RMS.

        Raises `UsageError` for names that the bank does not have, `CorpusError` for a file that
        is missing or whose sha256 differs.
        """
        return audio.decode(io.BytesIO(self.read(voice, sentence)))

    def analysis(self, voice: str, sentence: str) -> Analysis:
        """Return the WORLD analysis of a recording; cached on the disk, 0.2 MB each."""
        folder = files.home() / "banks" / f"analysis-v{ANALYSIS_VERSION}-{self.fingerprint[:16]}"
        path = folder / voice / f"{sentence}.npz"
        analysis = load(path)
        if analysis is None:
            analysis = analyse(self.recording(voice, sentence))
            save(analysis, path)
        return analysis

    def read(self, voice: str, sentence: str) -> bytes:
        """Return the bytes of a recording's file after checking their sha256."""
        name = f"{voice}/{sentence}.flac"
        expected = self.info["files"].get(name)
        if expected is None:
            raise UsageError(
                f"The bank {self.folder} has no recording {name}: it has voices "
                f"{self.info['voices'][0]['name']} ... and sentences "
                f"{', '.join(self.sentences())}."
            )
        path = self.folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise CorpusError(f"{path} cannot be read ({reason}): {AGAIN}.") from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise CorpusError(
                f"{path} is damaged (its sha256 is not the one in {BANK}): delete the bank and "
                f"{AGAIN}."
            )
        return data


def open_bank(source: str | os.PathLike[str] = "seed") -> Bank:
    """Open a bank: "seed" (comes with vox2face), "full" (in the cache) or a folder.

    Raises `CorpusError` for a bank that is missing, unfinished, damaged, incomplete or of another
    version.
    """
    if source == "seed":
        folder = Path(str(resources.files("vox2face") / "assets" / "voices"))
    elif source == "full":
        folder = default_folder()
        if not folder.exists():
            raise CorpusError("The full bank of voices does not exist yet: run vox2face data bank.")
    else:
        folder = Path(source)
    info = read_bank(folder)
    if missing := [name for name in info["files"] if not (folder / name).is_file()]:
        raise CorpusError(
            f"{folder} lacks {len(missing)} of {len(info['files'])} recordings ({missing[0]} is "
            f"the first): {AGAIN}."
        )
    return Bank(folder, info)


def default_folder(
    seed: int = 0,
    voices: int = recipe.VOICES,
    sentences: int = recipe.SENTENCES,
    bits: int = 16,
) -> Path:
    """Return the folder in the cache of a bank of these sizes."""
    name = f"voices-v{recipe.VERSION}-seed{seed}-{voices}x{sentences}-{bits}bit"
    return files.home() / "banks" / name


def read_bank(folder: Path) -> dict[str, Any]:
    """Read and check a bank's `bank.json`; raises as `open_bank` does."""
    path = folder / BANK
    if not path.is_file():
        if (folder / UNFINISHED).is_file():
            raise CorpusError(f"The bank {folder} is unfinished: run vox2face data bank again.")
        raise CorpusError(
            f"{folder} is not a bank of voices (it has no {BANK}): name a folder that vox2face "
            'data bank made, "seed" or "full".'
        )
    try:
        info = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} is damaged ({error}): {AGAIN}.") from error
    if not isinstance(info, dict) or info.get("format") != MARK:
        raise CorpusError(f"{path} does not describe a bank of voices: {AGAIN}.")
    if info.get("version") != recipe.VERSION:
        raise CorpusError(
            f"{folder} is a bank of version {info.get('version')}, and this vox2face reads version "
            f"{recipe.VERSION}: {AGAIN}."
        )
    if lacking := [key for key in KEYS if key not in info]:
        raise CorpusError(f"{path} is damaged (it lacks {', '.join(lacking)}): {AGAIN}.")
    table = info["files"]
    if not isinstance(table, dict) or fingerprint(table) != info["fingerprint"]:
        raise CorpusError(f"{path} is damaged (its fingerprint does not fit its files): {AGAIN}.")
    return info


def fingerprint(table: Mapping[str, str]) -> str:
    """Return the sha256 over the names and hashes of recordings."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(table.items()))
    return hashlib.sha256(lines.encode()).hexdigest()

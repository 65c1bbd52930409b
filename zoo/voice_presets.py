"""Preprocessing of voices by name: how a waveform becomes what a voice encoder was trained on.

A preset is part of a model. Never turn one silently into another: embeddings made with
different presets do not compare.
"""

from __future__ import annotations

from dataclasses import dataclass

from vox2face.core.errors import UsageError

PARTS = {"magnitude-phase": "magnitude and phase", "real-imaginary": "real and imaginary part"}


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


def voice_preset(name: str) -> VoicePreset:
    """Return the preset of this name; an unknown one raises a `UsageError` that lists them."""
    if name not in VOICE_PRESETS:
        known = ", ".join(VOICE_PRESETS)
        raise UsageError(f"There is no voice preset {name!r}: choose one of {known}.")
    return VOICE_PRESETS[name]

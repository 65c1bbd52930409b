"""What is left of a recording that was sent or kept at a low bit rate."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import UsageError
from vox2face.media import ffmpeg


@dataclass(frozen=True)
class Codec:
    """FFmpeg's names of an encoder and a container, Hz, bits a second (0: they follow), delay.

    The delay is by how many samples at 16 kHz what is decoded comes late.
    """

    encoder: str
    container: str
    rate: int
    bit_rate: int
    delay: int = 0


# fmt: off
CODECS: dict[str, Codec] = {
    "mp3":  Codec("libmp3lame", "mp3", 16_000, 24_000),
    "aac":  Codec("aac", "ipod", 16_000, 20_000, 1024),
    "opus": Codec("libopus", "ogg", 16_000, 12_000),
    "8k":   Codec("pcm_mulaw", "wav", 8_000, 0),  # a telephone line: G.711
}
# fmt: on


def require_codecs(names: Sequence[str]) -> None:
    """Raise `UsageError` for a name that is none of `CODECS`, or whose encoder is not there."""
    unknown = [name for name in names if name not in CODECS]
    if unknown:
        raise UsageError(f"There is no encoding {', '.join(unknown)}: use {', '.join(CODECS)}.")
    if not names:
        return
    import av
    from av.codec.codec import UnknownCodecError

    for name in names:
        try:
            av.Codec(CODECS[name].encoder, "w")
        except UnknownCodecError:
            raise UsageError(
                f"PyAV has no encoder {CODECS[name].encoder} for --encode {name}: install PyAV "
                "from a wheel, which has it, or leave that out."
            ) from None


def encoded(pcm: NDArray[np.int16], codec: Codec) -> NDArray[np.int16]:
    """Return samples (n,), mono at 16 kHz, as they come out of a codec, (n,)."""
    import av
    from av.audio.stream import AudioStream

    file = io.BytesIO()
    with av.open(file, "w", format=codec.container) as container:
        stream = container.add_stream(codec.encoder, rate=codec.rate)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        if codec.bit_rate:
            stream.bit_rate = codec.bit_rate
        for frame in ffmpeg.frames_of_array(pcm[None], ffmpeg.RATE):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    found = ffmpeg.pcm_of_file(file, "the encoded copy")[codec.delay :][: pcm.size]
    return np.pad(found, (0, pcm.size - found.size))

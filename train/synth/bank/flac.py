"""Write FLAC with FFmpeg's encoder; the same samples give the same bytes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from vox2face.core.extras import require
from vox2face.media import audio


def flac(pcm: NDArray[np.int16], comment: str) -> bytes:
    """Encode 16-bit samples (n,) at 16 kHz as the bytes of a FLAC file with a comment."""
    require("voice", "Writing FLAC")
    import av

    file = io.BytesIO()
    # bitexact: no version of FFmpeg in the file
    with av.open(file, "w", format="flac", options={"fflags": "+bitexact"}) as container:
        container.metadata["comment"] = comment
        options = {"compression_level": "12", "flags": "+bitexact"}
        stream = container.add_stream("flac", audio.RATE, options, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = audio.RATE
        for part in (frame, None):
            container.mux(stream.encode(part))
    return file.getvalue()

"""FFmpeg's libraries in process, through PyAV: demuxing, decoding, mixing and resampling."""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from vox2face.core.errors import AudioError, Vox2FaceWarning

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.filter import Graph

RATE = 16_000  # Hz, of all that comes out
RATES = (1_000, 768_000)  # Hz, of what may go in
LONGEST = 4 * 3600 * RATE  # samples, 0.9 GB as float32
FRAME = 1 << 16  # samples of an array handed over at a time
BATCH = 64  # frames between two looks at what has been resampled; looking costs more than they do
LAYOUTS = {1: "mono", 2: "stereo"}
CHANNELS = 8
LOUDEST = 10.0  # floats beyond it were never meant as -1..1
FLOATS = ("flt", "fltp", "dbl", "dblp")
FORMATS = {"uint8": "u8", "int16": "s16", "int32": "s32", "float32": "flt", "float64": "dbl"}

# Containers whose headers tell how long the sound is; elsewhere FFmpeg only estimates.
DECLARING = ("wav", "aiff", "flac", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
SLACK = 0.3  # seconds that encoders add or drop at the ends

# Programs that write into a pipe put a size of 0 or of nearly 2 or 4 GiB into a wav header.
PLACEHOLDERS = (0, 0x7FFF0000)
PAUSING = ("amrnb", "amrwb")  # FFmpeg's decoders of these take a pause for damage


class Stream:
    """A binary file as FFmpeg may see it: a name for its guesses, bytes, and perhaps places."""

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.name = Path(name).name if isinstance(name, str) else "recording"
        self.read = file.read
        if can_seek(file):
            self.file, self.seek, self.tell = file, self.moved, file.tell

    def moved(self, offset: int, whence: int = 0) -> int:
        """Seek; -1 for a place that no file has, since PyAV would print what is raised here."""
        try:
            return self.file.seek(offset, whence)
        except (OSError, OverflowError, ValueError):
            return -1


def can_seek(file: BinaryIO) -> bool:
    """Whether a file object can go back to its start."""
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if seekable else hasattr(file, "seek") and hasattr(file, "tell")


def is_wav(file: BinaryIO) -> bool:
    """Whether a file that can seek starts as a wav file does; leaves it at its start."""
    if not can_seek(file):
        return False
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    return head[:4] == b"RIFF" and head[8:] == b"WAVE"


def pcm_of_file(file: BinaryIO, name: str, first: bool = False) -> NDArray[np.int16]:
    """Return the sound of a media file as mono 16 kHz 16 bit; see `vox2face.media.audio.decode`.

    With `first` it is that of the first channel alone, and not a mixture.
    """
    import av
    from av.audio.stream import AudioStream

    # FFmpeg gets bytes, not a path, and may open nothing else: playlists name files and addresses.
    options = {"protocol_whitelist": "none"}
    if is_wav(file):
        # the samples may be a compressed film sound in disguise, and the search for it takes 50 ms
        options["max_probe_packets"] = "1"
    with av.open(
        Stream(file), "r", container_options=options, metadata_errors="replace"
    ) as container:
        stream = container.streams.best("audio")
        if not (isinstance(stream, AudioStream) and stream.codec_context):
            raise AudioError(f"{name} has no sound track that can be decoded: choose another file.")
        return collected(converted(frames(container, stream, name), name, first), name)


def pcm_of_array(array: NDArray[Any], rate: int, name: str, layout: str = "") -> NDArray[np.int16]:
    """Return samples (channels, samples), of a type in `FORMATS`, as mono 16 kHz 16 bit."""
    return collected(converted(frames_of_array(array, rate, layout), name), name)


def frames(container: InputContainer, stream: AudioStream, name: str) -> Iterator[AudioFrame]:
    """Yield what can be decoded, as ffmpeg does; raise `AudioError` where most packets cannot."""
    from av.error import FFmpegError

    good = bad = 0
    seconds, peaks = 0.0, [0.0]
    codec = stream.codec_context.codec
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except FFmpegError:
            bad += codec.name not in PAUSING
            seconds += float((packet.duration or 0) * (packet.time_base or 0))
            continue
        good += 1
        for frame in decoded:
            # lossless formats keep floats as they were given; decoders of others may overshoot
            if codec.lossless and frame.format.name in FLOATS:
                peaks.append(np.abs(frame.to_ndarray()).max())
            yield frame
            seconds += frame.samples / frame.sample_rate
    if bad > good:
        raise AudioError(f"{name} is damaged: {bad} of {bad + good} packets cannot be decoded.")
    _checked_length(seconds, container, stream, name)
    checked_peak(float(np.max(peaks)), name)


def layout_of(channels: int) -> str:
    """Return FFmpeg's name for so many channels of which nothing else is known."""
    return LAYOUTS.get(channels, f"{channels} channels")


def frames_of_array(array: NDArray[Any], rate: int, layout: str = "") -> Iterator[AudioFrame]:
    """Yield the samples of an array (channels, samples)."""
    from av import AudioFrame

    layout = layout or layout_of(len(array))
    for start in range(0, array.shape[1], FRAME):
        # one plane of interleaved channels, since PyAV miscounts planes from eight on
        block = np.ascontiguousarray(array[:, start : start + FRAME].T).reshape(1, -1)
        frame = AudioFrame.from_ndarray(block, format=FORMATS[array.dtype.name], layout=layout)
        frame.sample_rate = rate
        yield frame


def converted(frames: Iterable[AudioFrame], name: str, first: bool = False) -> Iterator[AudioFrame]:
    """Mix and resample frames to mono 16 kHz 16 bit as `ffmpeg -ac 1 -ar 16000` does.

    A stream may change its rate or channels midway; like ffmpeg, start afresh there.
    """
    graph, kind = None, None
    for number, frame in enumerate(frames):
        if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
            yield from _flushed(graph)
            checked_rate(frame.sample_rate, name)
            graph = _mixer(*kind, first)
        assert graph
        graph.push(frame)
        if number % BATCH == 0:
            yield from pulled(graph)
    yield from _flushed(graph)


def _mixer(sample_format: str, layout: str, rate: int, first: bool) -> Graph:
    """Return a filter graph that mixes, or takes the first channel, and resamples."""
    from av.filter import Graph

    graph = Graph()
    settings = f"sample_fmt={sample_format}:channel_layout={layout}:sample_rate={rate}"
    nodes = [graph.add("abuffer", f"{settings}:time_base=1/{rate}")]
    if first:
        nodes.append(graph.add("pan", "mono|c0=c0"))
    # FFmpeg puts libswresample in between, with the settings it has in the program ffmpeg
    nodes.append(graph.add("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={RATE}"))
    nodes.append(graph.add("abuffersink"))
    for node, following in itertools.pairwise(nodes):
        node.link_to(following)
    graph.configure()
    return graph


def pulled(graph: Graph) -> Iterator[AudioFrame]:
    """Yield the frames that are ready at the end of a filter graph."""
    with contextlib.suppress(BlockingIOError, EOFError):  # more is to come, or nothing
        while True:
            yield cast("AudioFrame", graph.pull())


def _flushed(graph: Graph | None) -> Iterator[AudioFrame]:
    """Yield the last frames of a filter graph, if there is one."""
    if graph:
        graph.push(None)
        yield from pulled(graph)


def collected(frames: Iterable[AudioFrame], name: str) -> NDArray[np.int16]:
    """Return all samples of 16-bit mono frames; stop with an `AudioError` after `LONGEST`."""
    pcm = bytearray()
    for frame in frames:
        pcm += memoryview(frame.planes[0])[: 2 * frame.samples]
        checked_duration(len(pcm) / 2 / RATE, name)
    return np.frombuffer(pcm, np.int16)


def checked_rate(rate: int, name: str) -> None:
    """Raise `AudioError` unless a rate is one that sound is recorded with."""
    low, high = RATES
    if not low <= rate <= high:
        raise AudioError(f"{name} has a rate of {rate} Hz: {low} to {high} Hz can be read.")


def checked_duration(seconds: float, name: str) -> None:
    """Raise `AudioError` for a recording longer than `LONGEST`."""
    if seconds > LONGEST / RATE:
        raise AudioError(
            f"{name} is longer than {LONGEST / RATE / 3600:g} hours: cut out the voice you want."
        )


def checked_peak(loudest: float, name: str) -> None:
    """Raise `AudioError` for floats that were not meant as -1..1; warn if they will be clipped."""
    if not math.isfinite(loudest):
        raise AudioError(f"{name} holds NaN or infinity: repair what made it.")
    if loudest > LOUDEST:
        raise AudioError(
            f"{name} reaches {loudest:g}, but floats lie in -1..1: divide 16-bit samples by 32768."
        )
    if loudest > 1:
        words = f"{name} reaches {loudest:g}, but floats lie in -1..1: louder samples are clipped."
        warnings.warn(words, Vox2FaceWarning, stacklevel=2)


def _checked_length(
    seconds: float, container: InputContainer, stream: AudioStream, name: str
) -> None:
    """Raise `AudioError` if a good part of what the header declares is not there."""
    declared = 0.0
    if stream.duration and stream.time_base:
        declared = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        declared = container.duration / 1e6
    is_real = declared * (stream.codec_context.bit_rate or 0) / 8 < PLACEHOLDERS[1]
    if container.format.name in DECLARING and is_real and seconds < 0.99 * declared - SLACK:
        raise AudioError(cut_off(name, seconds, declared))


def cut_off(name: str, seconds: float, declared: float) -> str:
    """What to say of a recording that ends too early."""
    return (
        f"{name} is damaged or cut off: {seconds:.2f} of its {declared:.2f} seconds can be "
        "decoded; get the whole file."
    )

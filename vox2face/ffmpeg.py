"""FFmpeg's libraries in process, through PyAV: demuxing, decoding, mixing and resampling."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from vox2face.errors import AudioError

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
FORMATS = {"uint8": "u8", "int16": "s16", "int32": "s32", "float32": "flt", "float64": "dbl"}
# Containers whose headers tell how long the sound is; elsewhere FFmpeg only estimates.
DECLARING = ("wav", "aiff", "flac", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
SLACK = 0.3  # seconds that encoders add or drop at the ends
# Programs that write into a pipe put a size of 0 or of nearly 2 or 4 GiB into a wav header.
PLACEHOLDERS = (0, 0x7FFF0000)


class Stream:
    """A binary file as FFmpeg may see it: a name for its guesses, bytes, and perhaps places."""

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.name = Path(name).name if isinstance(name, str) else "recording"
        self.read = file.read
        if can_seek(file):
            self.seek, self.tell = file.seek, file.tell


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


def pcm_of_file(file: BinaryIO, name: str) -> NDArray[np.int16]:
    """Return the sound of a media file as mono 16 kHz 16 bit; see `vox2face.audio.decode`."""
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
        pcm = collected(converted(frames(container, stream, name), name), name)
        checked_length(pcm.size / RATE, container, stream, name)
    return pcm


def pcm_of_array(array: NDArray[Any], rate: int, name: str) -> NDArray[np.int16]:
    """Return samples (channels, samples), of a type in `FORMATS`, as mono 16 kHz 16 bit."""
    return collected(converted(frames_of_array(array, rate), name), name)


def frames(container: InputContainer, stream: AudioStream, name: str) -> Iterator[AudioFrame]:
    """Yield what can be decoded; raise `AudioError` where most packets cannot."""
    from av.error import InvalidDataError

    good = bad = 0
    is_float = stream.codec_context.name.startswith("pcm_f")
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except InvalidDataError:
            bad += 1
            continue
        good += 1
        for frame in decoded:
            if is_float and not np.isfinite(frame.to_ndarray()).all():
                raise AudioError(f"{name} holds NaN or infinity: repair what made it.")
            yield frame
    if bad > good:
        raise AudioError(f"{name} is damaged: {bad} of {bad + good} packets cannot be decoded.")


def frames_of_array(array: NDArray[Any], rate: int) -> Iterator[AudioFrame]:
    """Yield the samples of an array (channels, samples)."""
    from av import AudioFrame

    layout = LAYOUTS.get(len(array), f"{len(array)} channels")
    for start in range(0, array.shape[1], FRAME):
        # one plane of interleaved channels, since PyAV miscounts planes from eight on
        block = array[:, start : start + FRAME].T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(block, format=FORMATS[array.dtype.name], layout=layout)
        frame.sample_rate = rate
        yield frame


def converted(frames: Iterable[AudioFrame], name: str) -> Iterator[AudioFrame]:
    """Mix and resample frames to mono 16 kHz 16 bit as `ffmpeg -ac 1 -ar 16000` does.

    A stream may change its rate or channels midway; like ffmpeg, start afresh there.
    """
    graph, kind = None, None
    for number, frame in enumerate(frames):
        if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
            yield from flushed(graph)
            checked_rate(frame.sample_rate, name)
            graph = mixer(*kind)
        assert graph
        graph.push(frame)
        if number % BATCH == 0:
            yield from pulled(graph)
    yield from flushed(graph)


def mixer(sample_format: str, layout: str, rate: int) -> Graph:
    """Return a filter graph that mixes and resamples with libswresample."""
    from av.filter import Graph

    graph = Graph()
    settings = f"sample_fmt={sample_format}:channel_layout={layout}:sample_rate={rate}"
    source = graph.add("abuffer", f"{settings}:time_base=1/{rate}")
    # FFmpeg puts its converter in between, with the settings it has in the program ffmpeg
    wanted = graph.add("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={RATE}")
    sink = graph.add("abuffersink")
    source.link_to(wanted)
    wanted.link_to(sink)
    graph.configure()
    return graph


def pulled(graph: Graph) -> Iterator[AudioFrame]:
    """Yield the frames that are ready at the end of a filter graph."""
    with contextlib.suppress(BlockingIOError, EOFError):  # more is to come, or nothing
        while True:
            yield cast("AudioFrame", graph.pull())


def flushed(graph: Graph | None) -> Iterator[AudioFrame]:
    """Yield the last frames of a filter graph, if there is one."""
    if graph:
        graph.push(None)
        yield from pulled(graph)


def collected(frames: Iterable[AudioFrame], name: str) -> NDArray[np.int16]:
    """Return all samples of 16-bit mono frames; stop with an `AudioError` after `LONGEST`."""
    pcm = bytearray()
    for frame in frames:
        pcm += memoryview(frame.planes[0])[: 2 * frame.samples]
        if len(pcm) > 2 * LONGEST:
            raise AudioError(too_long(name))
    return np.frombuffer(pcm, np.int16)


def checked_rate(rate: int, name: str) -> None:
    """Raise `AudioError` unless a rate is one that sound is recorded with."""
    low, high = RATES
    if not low <= rate <= high:
        raise AudioError(f"{name} has a rate of {rate} Hz: {low} to {high} Hz can be read.")


def too_long(name: str) -> str:
    """What to say of a recording longer than `LONGEST`."""
    return f"{name} is longer than {LONGEST / RATE / 3600:g} hours: cut out the voice you want."


def checked_length(
    seconds: float, container: InputContainer, stream: AudioStream, name: str
) -> None:
    """Raise `AudioError` if a good part of what the header declares could not be decoded."""
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


def plain_wav(file: BinaryIO, name: str) -> tuple[NDArray[np.int16], int] | None:
    """Return samples (channels, samples) and rate of a 16-bit wav file, mono or stereo.

    None for any other file. Needs no FFmpeg, which would hand over a wav file in small pieces.
    Raises `AudioError` for any wav file that ends before its header says, since FFmpeg would take
    it as shorter.
    """
    if not is_wav(file):
        return None
    file.seek(12)
    head, kind = b"", b""
    while len(chunk := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", chunk)
        if kind == b"data":
            break
        head = file.read(size) if kind == b"fmt " else head
        file.seek(size % 2 if kind == b"fmt " else size + size % 2, 1)
    if kind != b"data" or len(head) < 16:
        return None
    code, channels, rate, per_second, _, bits = struct.unpack("<HHIIHH", head[:16])
    start = file.tell()
    present = file.seek(0, 2) - start
    if present < size and PLACEHOLDERS[0] < size < PLACEHOLDERS[1] and per_second:
        raise AudioError(cut_off(name, present / per_second, size / per_second))
    if (code, bits) != (1, 16) or channels not in LAYOUTS or not 0 < size <= present:
        return None
    checked_rate(rate, name)
    width = 2 * channels
    if size / width / rate > LONGEST / RATE:
        raise AudioError(too_long(name))
    file.seek(start)
    samples = np.frombuffer(file.read(size // width * width), "<i2").astype(np.int16, copy=False)
    return samples.reshape(-1, channels).T, rate

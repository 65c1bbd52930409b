"""The embeddings of an evaluation's clips: made once, kept, and without clips that are bad."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.core.errors import AudioError, CorpusError
from vox2face.core.progress import Bars
from vox2face.train import array_cache, storage
from vox2face.train.evaluate.test_set import Corpus, Rows, without_clips
from vox2face.train.media import encoder_source

if TYPE_CHECKING:
    from vox2face.runtime.voice_encoder import VoiceEncoder

CHUNK = 256  # clips whose embeddings are kept together, so that an interrupted run goes on


@dataclass
class Voices:
    """Embeds clips once and keeps what it has: in `folder` if there is one.

    Of more than `max_failures` (a part of the clips) that cannot be read, an error is made.
    """

    folder: Path | None = None
    max_failures: float = 0.05
    bars: Bars = field(default_factory=Bars)

    def embed_clips(
        self, encoders: Sequence[VoiceEncoder], corpus: Corpus
    ) -> tuple[list[Rows], Corpus]:
        """Return each encoder's embeddings of the corpus' clips (clips, width), and the corpus.

        Clips that one of them cannot use are left out for all. Raises `CorpusError` if these are
        too many.
        """
        heard, lost = np.ones(len(corpus.clips), bool), []
        tables = []
        for encoder in encoders:
            table, failures = self.embed(encoder, corpus.clips)
            new = {place: reason for place, reason in failures.items() if heard[place]}
            heard[list(new)] = False
            lost += list(new.values())
            tables.append(table)
        if heard.all():
            return tables, corpus
        return [table[heard] for table in tables], without_clips(corpus, heard, lost)

    def embed(self, encoder: VoiceEncoder, clips: Sequence[str]) -> tuple[Rows, dict[int, str]]:
        """Return embeddings (clips, width), zero where a clip cannot be used, and why, by place."""
        parts, failures = [], {}
        for start in range(0, len(clips), CHUNK):
            self.bars.advance(f"Listen, {encoder.entry.name}", start, len(clips), " clips")
            values, bad = self.chunk(encoder, clips[start : start + CHUNK])
            failures.update({start + place: reason for place, reason in bad.items()})
            parts.append(values)
            self.require_few(list(failures.values()), len(clips))
        self.bars.close()
        return np.concatenate(parts), failures

    def require_few(self, lost: Sequence[str], total: int) -> None:
        """Raise if more clips than allowed could not be read."""
        if len(lost) > self.max_failures * total:
            raise CorpusError(
                f"{len(lost)} of {total} clips cannot be used, more than --max-failures "
                f"{self.max_failures:g} allows; the first: {lost[0]}"
            )

    def chunk(self, encoder: VoiceEncoder, files: Sequence[str]) -> tuple[Rows, Mapping[int, str]]:
        """Return embeddings, zero where a clip cannot be read, and why, by place."""
        stamp = digest(encoder, files)
        path = None if self.folder is None else self.folder / f"{stamp[:24]}{array_cache.ENDING}"
        if path is not None and (kept := array_cache.load_array(path, stamp)) is not None:
            return kept.values(), kept.failed
        values = np.zeros((len(files), encoder.width), np.float32)
        failures: dict[int, str] = {}
        for place, row in _heard_each(encoder, files):
            if isinstance(row, str):
                named = row if row.startswith(files[place]) else f"{files[place]}: {row}"
                failures[place] = named
            else:
                values[place] = row
        if path is not None:
            array_cache.save_array(path, stamp, values, failures)
        return values, failures


def _heard_each(
    encoder: VoiceEncoder, files: Sequence[str], together: int = 8
) -> Iterator[tuple[int, Any]]:
    """Yield the place and the embedding of each clip, or the reason why it has none."""
    waiting: list[tuple[int, Any]] = []
    for place, file in enumerate(files):
        try:
            x = encoder.preprocess(encoder_source(file))
        except (AudioError, CorpusError) as error:
            yield place, str(error)
            continue
        if waiting and (len(waiting) == together or waiting[0][1].shape != x.shape):
            yield from embedded(encoder, waiting)
            waiting = []
        waiting.append((place, x))
    if waiting:
        yield from embedded(encoder, waiting)


def embedded(
    encoder: VoiceEncoder, waiting: Sequence[tuple[int, Any]]
) -> Iterator[tuple[int, Any]]:
    """Yield places and embeddings of preprocessed clips; one that is no direction is a failure."""
    values = encoder.embed([x for _, x in waiting])
    for (place, _), row in zip(waiting, values, strict=True):
        sound = bool(np.isfinite(row).all() and row.any())
        yield place, row if sound else "the network gives zero or no numbers for it"


def digest(encoder: VoiceEncoder, files: Sequence[str]) -> str:
    """Return a name for embeddings: of the network, and of the files with sizes and times."""
    from vox2face.runtime.pipelines import identity

    seen = [None if storage.is_remote(f) or not Path(f).is_file() else state(f) for f in files]
    facts = [identity(encoder), encoder.preset, encoder.backend, list(files), seen]
    return array_cache.stamp_of(facts)


def state(file: str) -> tuple[int, int]:
    """Return what changes when a file is written again: its size, and the time in nanoseconds."""
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns

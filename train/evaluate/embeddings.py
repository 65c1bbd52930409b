"""Embed the clips of an evaluation: once, cached, and without clips that cannot be used."""

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

CHUNK = 256  # clips in one file of the cache; an interrupted run goes on after the last one


@dataclass
class Voices:
    """Embeds clips, cached in `folder` if there is one.

    Raises `CorpusError` if more than `max_failures` (a part of the clips) cannot be read.
    """

    folder: Path | None = None
    max_failures: float = 0.05
    bars: Bars = field(default_factory=Bars)

    def embed_clips(
        self, encoders: Sequence[VoiceEncoder], corpus: Corpus
    ) -> tuple[list[Rows], Corpus]:
        """Return each encoder's embeddings of the corpus' clips (clips, width), and the corpus.

        Clips that one encoder cannot use are left out for all. Raises `CorpusError` if these are
        too many.
        """
        usable, reasons = np.ones(len(corpus.clips), bool), []
        tables = []
        for encoder in encoders:
            table, failures = self.embed(encoder, corpus.clips)
            new = {index: reason for index, reason in failures.items() if usable[index]}
            usable[list(new)] = False
            reasons += list(new.values())
            tables.append(table)
        if usable.all():
            return tables, corpus
        return [table[usable] for table in tables], without_clips(corpus, usable, reasons)

    def embed(self, encoder: VoiceEncoder, clips: Sequence[str]) -> tuple[Rows, dict[int, str]]:
        """Return embeddings (clips, width), zero for unusable clips, and the reasons by index."""
        parts, failures = [], {}
        for start in range(0, len(clips), CHUNK):
            self.bars.advance(f"Listen, {encoder.entry.name}", start, len(clips), " clips")
            values, chunk_failures = self.chunk(encoder, clips[start : start + CHUNK])
            failures.update({start + index: reason for index, reason in chunk_failures.items()})
            parts.append(values)
            self.require_few(list(failures.values()), len(clips))
        self.bars.close()
        return np.concatenate(parts), failures

    def require_few(self, reasons: Sequence[str], total: int) -> None:
        """Raise `CorpusError` if more clips than allowed could not be read."""
        if len(reasons) > self.max_failures * total:
            raise CorpusError(
                f"{len(reasons)} of {total} clips cannot be used, more than --max-failures "
                f"{self.max_failures:g} allows; the first: {reasons[0]}"
            )

    def chunk(self, encoder: VoiceEncoder, files: Sequence[str]) -> tuple[Rows, Mapping[int, str]]:
        """Return the embeddings of a chunk as `embed` does, from the cache if they are there."""
        stamp = digest(encoder, files)
        path = None if self.folder is None else self.folder / f"{stamp[:24]}{array_cache.ENDING}"
        if path is not None and (cached := array_cache.load_array(path, stamp)) is not None:
            return cached.values(), cached.failed
        values = np.zeros((len(files), encoder.width), np.float32)
        failures: dict[int, str] = {}
        for index, row in _embed_each(encoder, files):
            if isinstance(row, str):
                reason = row if row.startswith(files[index]) else f"{files[index]}: {row}"
                failures[index] = reason
            else:
                values[index] = row
        if path is not None:
            array_cache.save_array(path, stamp, values, failures)
        return values, failures


def _embed_each(
    encoder: VoiceEncoder, files: Sequence[str], together: int = 8
) -> Iterator[tuple[int, Any]]:
    """Yield the index and the embedding (width,) of each clip, or the reason of its failure."""
    batch: list[tuple[int, Any]] = []
    for index, file in enumerate(files):
        try:
            x = encoder.preprocess(encoder_source(file))
        except (AudioError, CorpusError) as error:
            yield index, str(error)
            continue
        if batch and (len(batch) == together or batch[0][1].shape != x.shape):
            yield from _embed_batch(encoder, batch)
            batch = []
        batch.append((index, x))
    if batch:
        yield from _embed_batch(encoder, batch)


def _embed_batch(
    encoder: VoiceEncoder, batch: Sequence[tuple[int, Any]]
) -> Iterator[tuple[int, Any]]:
    """Yield indices and embeddings of preprocessed clips; a zero or NaN one is a failure."""
    values = encoder.embed([x for _, x in batch])
    for (index, _), row in zip(batch, values, strict=True):
        valid = bool(np.isfinite(row).all() and row.any())
        yield index, row if valid else "the network gives zero or no numbers for it"


def digest(encoder: VoiceEncoder, files: Sequence[str]) -> str:
    """Return a stamp of embeddings: of the network, and of the files with sizes and times."""
    from vox2face.runtime.pipelines import identity

    states = [None if storage.is_remote(f) or not Path(f).is_file() else state(f) for f in files]
    facts = [identity(encoder), encoder.preset, encoder.backend, list(files), states]
    return array_cache.stamp_of(facts)


def state(file: str) -> tuple[int, int]:
    """Return a file's size in bytes and the time of its last change in nanoseconds."""
    stat = os.stat(file)
    return stat.st_size, stat.st_mtime_ns

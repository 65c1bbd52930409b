"""Notes of the file at which a process died, so that this file is left out in the end.

While a shard is made, a note is beside it (00012.making), which a process that dies leaves there.
The next process that makes the shard writes the row of each file into the note before it reads the
file; a row at which two processes died is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vox2face.core.errors import CorpusError
from vox2face.train import storage
from vox2face.train.prepare import shards

ENDING = ".making"
DEATHS = 2


class Trace:
    """The note beside a shard that is being made."""

    def __init__(self, shard: str) -> None:
        self.path = note_path(shard)
        self.retry = has_died_at(shard)
        self.died = storage.read_bytes(self.path).split() if self.retry else []
        if not self.retry:
            self.write()

    def reading(self, row: int, file: str) -> None:
        """Note the row whose file is read next; raise `CorpusError` if two processes died there."""
        if self.died.count(b"%d" % row) >= DEATHS:
            raise CorpusError(
                f"{file} was left out: {DEATHS} processes that read it ended without an error "
                "message. It may be damaged, or take more memory than there is."
            )
        if self.retry:
            self.write(b"%d" % row)

    def write(self, *current: bytes) -> None:
        """Write the rows at which processes died, and the row of this process."""
        storage.write_bytes(self.path, b" ".join([*self.died, *current]))


@contextmanager
def traced(shard: str) -> Iterator[Trace]:
    """Keep a note beside a shard until it is made, or until an error ends the attempt.

    A `MemoryError` counts as a death: without a limit the system kills the process for it.
    """
    trace = Trace(shard)
    try:
        yield trace
    except MemoryError:
        raise
    except BaseException:
        shards.remove(trace.path)
        raise
    shards.remove(trace.path)


def note_path(shard: str) -> str:
    """Return the path of a shard's note."""
    return shard.removesuffix(shards.ENDING) + ENDING


def has_died_at(shard: str) -> bool:
    """Whether a process died while it made a shard."""
    return storage.exists(note_path(shard))

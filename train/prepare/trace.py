"""Which file a shard was at when its process died, so that in the end that file is left out.

While a shard is made, a note lies beside it (00012.making), which a process that dies leaves there.
Who makes such a shard again writes into the note, before each file, which row that is; a row at
which two processes died is left out.
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
        self.place = place_of(shard)
        self.again = left_behind(shard)
        self.died = storage.read_bytes(self.place).split() if self.again else []
        if not self.again:
            self.write()

    def at(self, row: int, file: str) -> None:
        """Note which row's file is going to be read. Raises `CorpusError` if two died at it."""
        if self.died.count(b"%d" % row) >= DEATHS:
            raise CorpusError(
                f"{file} was left out: {DEATHS} processes that read it ended without a word. It "
                "may be damaged, or take more memory than there is."
            )
        if self.again:
            self.write(b"%d" % row)

    def write(self, *now: bytes) -> None:
        """Write the rows at which processes died, and at which this one is now."""
        storage.write_bytes(self.place, b" ".join([*self.died, *now]))


@contextmanager
def traced(shard: str) -> Iterator[Trace]:
    """Keep a note beside a shard, until it is made or something else than a death prevents that.

    Too little memory counts as a death: where there is no limit, the system kills for it.
    """
    trace = Trace(shard)
    try:
        yield trace
    except MemoryError:
        raise
    except BaseException:
        shards.remove(trace.place)
        raise
    shards.remove(trace.place)


def place_of(shard: str) -> str:
    """Return where the note of a shard is."""
    return shard.removesuffix(shards.ENDING) + ENDING


def left_behind(shard: str) -> bool:
    """Whether a process died while it made a shard."""
    return storage.exists(place_of(shard))

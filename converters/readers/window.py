"""A part of a file as a file of its own."""

from __future__ import annotations

import io
from typing import Any, BinaryIO


class Window(io.RawIOBase):
    """`size` bytes of an open file from `start` on, to read only."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self.file, self.start, self.size, self.at = file, start, size, 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read at any place."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the place to read from next and return it."""
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        """Return the place to read from next."""
        return self.at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes and return how many."""
        count = max(0, min(len(buffer), self.size - self.at))
        self.file.seek(self.start + self.at)
        content = self.file.read(count)
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)

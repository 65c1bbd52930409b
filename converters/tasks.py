"""Calls in threads of their own.

What concurrent.futures has for this takes longer to import than converting a small network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """A call that runs in a thread from now on; `result` waits for what it returns or raises."""

    def __init__(self, call: Callable[..., T], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        """Make the call and keep what comes of it."""
        try:
            self.value = self.call(*self.arguments)
        except BaseException as error:
            self.error = error

    def wait(self) -> None:
        """Wait for the end of the call, whatever comes of it."""
        self.thread.join()

    def result(self) -> T:
        """Return what the call returned, or raise what it raised."""
        self.wait()
        if self.error is not None:
            raise self.error
        return self.value

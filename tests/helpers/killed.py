"""Run actions in forked children, together or killed at one of the changes they make on disk."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import Any

CHANGES = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"})
Action = Callable[[], Any]


def started(action: Action, stop: int = 0, changes: Collection[str] = CHANGES) -> int:
    """Start an action in a child, which kills itself just before its `stop`-th change, if any."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if stop:
            kill_at(stop, changes)
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def kill_at(stop: int, changes: Collection[str]) -> None:
    """Let this process end as by `kill -9` just before its `stop`-th change."""
    seen = itertools.count(1)

    def hook(event: str, arguments: object) -> None:
        if event in changes and next(seen) == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def ended(child: int) -> bool:
    """Wait for a child; return whether it came to its end, and raise if that was not a good one."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"a child ended with {code}"
    return code == 0


def kills(prepare: Action, action: Action, changes: Collection[str] = CHANGES) -> Iterator[int]:
    """Yield after an action was killed at each of its changes, and once after it was not."""
    for stop in itertools.count(1):
        prepare()
        whole = ended(started(action, stop, changes))
        yield stop
        if whole:
            return

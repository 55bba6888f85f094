"""Something goes wrong at the n-th call that touches the disk: the process is killed, or the call fails.

Opening, renaming, making and removing are seen by an audit hook, which Python calls before it does them; writing and
flushing by functions put in their place. What is written when the process is killed, or the disk is full from then on, is
written by half.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_SEEN = frozenset(
    {
        *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.utime"),
        *("os.listdir", "os.scandir", "fcntl.flock"),
    }
)
_FILLING = frozenset({"write", "os.mkdir", "sendfile"})

Go = Callable[[str], None]
"""Called with what is going on at the call that is to go wrong."""


def killed(_: str) -> None:
    """Die as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def failing(number: int) -> Go:
    """Return what makes a call fail with an error number."""

    def fail(_: str) -> None:
        raise OSError(number, os.strerror(number))

    return fail


class Calls:
    """Counts the calls of this process from now on, and lets one go wrong. There is no way back: use it in a fork.

    Attributes:
        n: How many calls there were.
    """

    def __init__(self, at: int = 0, go: Go = killed, *, full_from_then_on: bool = False) -> None:
        """Let call ``at`` (from 1; 0: none) go wrong; a full disk stays full for what would fill it more."""
        self.n = 0
        self._at, self._go, self._full = at, go, full_from_then_on
        self._watching = True
        sys.addaudithook(self._hook)
        real_open, real_fsync, real_sendfile = io.open, os.fsync, os.sendfile

        def open_(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **settings: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, *args, **settings)
            raw = _Raw(file, "".join(sorted(set(mode) - set("bt"))), self)
            buffered = io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **settings)

        def fsync(descriptor: Any) -> None:
            self.count("fsync")
            real_fsync(descriptor)

        def sendfile(*args: Any) -> int:
            self.count("sendfile")
            return real_sendfile(*args)

        io.open, os.fsync, os.sendfile = open_, fsync, sendfile  # type: ignore[assignment]

    def stop(self) -> None:
        """Count no further."""
        self._watching = False

    def wrong_next(self, what: str) -> bool:
        """Say whether the next call is to go wrong."""
        later = self._full and what in _FILLING and 0 < self._at <= self.n
        return self._watching and (self.n + 1 == self._at or later)

    def torn_next(self) -> bool:
        """Say whether half of the next write is to reach the disk."""
        return self.wrong_next("write") and (self._full or self._go is killed)

    def count(self, what: str) -> None:
        """Count a call, and let it go wrong if it is its turn."""
        if not self._watching:
            return
        wrong = self.wrong_next(what)
        self.n += 1
        if wrong:
            self._go(what)

    def _hook(self, event: str, _: tuple[Any, ...]) -> None:
        if event in _SEEN:
            self.count(event)


class _Raw(io.FileIO):
    def __init__(self, file: Any, mode: str, calls: Calls) -> None:
        self._calls = calls
        super().__init__(file, mode)

    def write(self, data: Any) -> int:
        if self._calls.torn_next():
            super().write(memoryview(data)[: len(data) // 2])
        self._calls.count("write")
        return super().write(data)

"""Audio that keeps coming while a model computes: a thread reads it into a queue of bounded length."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from fastwhisper_compress.runtime.audio import SAMPLE_RATE


class Source(Protocol):
    """Where a stream comes from."""

    def take(self, least: int, most: int) -> np.ndarray:
        """Return what has arrived, float32 (n,) at 16 kHz.

        Waits until there are at least ``least`` samples or no more will come; none means that it has ended.

        Args:
            least: How many are worth waiting for.
            most: How many to take, at least one: that none were wanted would look like the end.

        Raises:
            FastWhisperError: The stream broke, after all that came before has been taken.
        """


class Arriving:
    """A stream read by a thread of its own.

    Whoever takes late gets all that has arrived, so that a slow model makes larger steps instead of falling behind. When
    the queue is full the thread waits, and with it whoever writes the stream: nothing is dropped and nothing grows.

    The thread may be waiting inside a read that never returns: it is a daemon, and :meth:`close` does not wait for it.
    """

    def __init__(self, blocks: Iterable[np.ndarray], *, queue_s: float = 30.0) -> None:
        """Begin to read.

        Args:
            blocks: float32 (n,) at 16 kHz each; may block while it waits for the next.
            queue_s: How much may lie in the queue. One block more than that may be held.
        """
        self._error: Exception | None = None
        self._room = round(queue_s * SAMPLE_RATE)
        self._parts: deque[np.ndarray] = deque()
        self._held = 0  # samples in the parts
        self._ended = False  # no more will come
        self._closed = False  # nobody takes any more
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(blocks,), name="audio reader", daemon=True).start()

    def take(self, least: int, most: int) -> np.ndarray:
        """Return what has arrived; see :class:`Source`.

        Raises:
            ValueError: ``most`` is not positive.
        """
        if most < 1:
            raise ValueError(f"cannot take {most} samples")
        with self._changed:
            self._changed.wait_for(lambda: self._held >= min(least, self._room) or self._ended)
            if self._error and not self._held:
                raise self._error
            taken = self._pop(most)
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Want no more: what has arrived is the last that can be taken, and the thread ends with its next block."""
        with self._changed:
            self._ended = self._closed = True
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pop(self, most: int) -> np.ndarray:
        parts = []
        while self._parts and most:
            part = self._parts.popleft()
            if part.size > most:
                self._parts.appendleft(part[most:])
                part = part[:most]
            parts.append(part)
            most -= part.size
            self._held -= part.size
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _read(self, blocks: Iterable[np.ndarray]) -> None:
        try:
            for block in blocks:
                with self._changed:
                    if self._closed:
                        return
                    self._parts.append(block)
                    self._held += block.size
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._held < self._room or self._closed)
        except Exception as error:  # noqa: BLE001 - raised in whoever takes, when all before it has been taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

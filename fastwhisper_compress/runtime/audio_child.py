"""The process that decodes: ``python -m fastwhisper_compress.runtime.audio_child``.

Whatever a file does to a decoder, it does it here: where there is no model, where memory and time are limited (see
``audio_limits``), and where nothing is lost when the system ends it. It reads requests from standard input and answers on
standard output, one after another; it ends when nobody is there any more, or nobody has asked for a while.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio_frames import (
    MOST_SAMPLES,
    Answer,
    Ask,
    Closed,
    End,
    Opened,
    Request,
    packed,
    read_request,
)
from fastwhisper_compress.runtime.audio_limits import MEMORY_BYTES, Budget, restrain
from fastwhisper_compress.runtime.audio_source import EXPORT, MOST_S, SAMPLE_RATE, Gap, undecodable

if TYPE_CHECKING:
    import numpy as np

    from fastwhisper_compress.runtime.audio_mixing import Mixed

_IDLE_S = 20.0
_REQUESTS = 0  # standard input


def main() -> int:
    """Serve until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for whoever asks
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library has to say, it says it elsewhere
    import soundfile  # noqa: F401 - now, since it could not be compiled into a file later
    import soxr  # noqa: F401

    restrain()
    child = _Child(answers)
    try:
        while child.is_busy or _asked():
            child.serve(read_request(_read))
    except (EOFError, BrokenPipeError):  # nobody is there
        return 0
    return 0


class _Child:
    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._decoding: _Decoding | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a recording is open; whoever hears it may take long over a block."""
        return self._decoding is not None

    def serve(self, request: Request) -> None:
        if request.ask is Ask.NEXT:
            self._next()
            return
        if request.ask is Ask.CLOSE:
            self._close()
            self._send(Closed())
            return
        budget = Budget()
        try:
            decoding = _opened(request, budget)
        except Exception as error:  # noqa: BLE001 - what a file makes a library raise is no bug of ours
            self._send(_told(error))
            return
        self._decoding = decoding
        self._send(Opened(decoding.sound.duration_s))
        while request.ask is Ask.STREAM and self._decoding is not None:
            self._next()

    def _next(self) -> None:
        """Send all up to the next block, or the end; nothing if it has been sent."""
        decoding = self._decoding
        while decoding is not None:
            try:
                found: Answer = next(decoding.answers, End())
            except Exception as error:  # noqa: BLE001 - see above
                found = _told(error)
            self._send(found)
            if isinstance(found, End | AudioError | BackendError):
                self._close()
                return
            if not isinstance(found, Gap):
                return

    def _close(self) -> None:
        if self._decoding is not None:
            self._decoding.close()
        self._decoding = None
        Budget()  # of what is left of the last one, waiting for more may be too much

    def _send(self, answer: Answer) -> None:
        left = memoryview(packed(answer))
        while left:
            left = left[os.write(self._answers, left) :]


class _Decoding:
    """A recording that is being decoded."""

    def __init__(self, request: Request, sound: Mixed, budget: Budget) -> None:
        self.sound = sound
        self.answers = self._answers(request.start_s)
        self._budget = budget

    def close(self) -> None:
        self.answers.close()
        self.sound.close()

    def _answers(self, at_s: float) -> Generator[np.ndarray | Gap, None, None]:
        for found in self.sound:
            if isinstance(found, Gap):
                yield found
                continue
            for first in range(0, len(found), MOST_SAMPLES):
                yield found[first : first + MOST_SAMPLES]
            at_s += len(found) / SAMPLE_RATE
            if at_s > MOST_S:
                raise AudioError(f"lasts more than {MOST_S:,.0f} s", remedy=EXPORT)
            self._budget.allow(audio_s=len(found) / SAMPLE_RATE)


class _Arriving:
    """What comes on standard input behind the request for a stream."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def read(self, size: int) -> bytes:
        """Take what is there."""
        taken = os.read(_REQUESTS, size)
        self._budget.allow(size_bytes=len(taken))
        return taken


def _opened(request: Request, budget: Budget) -> _Decoding:
    from fastwhisper_compress.runtime.audio_opening import decode_file, decode_stream

    if request.ask is Ask.STREAM:
        return _Decoding(request, decode_stream(_Arriving(budget)), budget)
    path = Path(os.fsdecode(request.path))
    budget.allow(size_bytes=path.stat().st_size)
    return _Decoding(request, decode_file(path, request.start_s), budget)


def _told(error: Exception) -> AudioError | BackendError:
    """Return the error as it is sent: ours as they are, others as what they must mean."""
    if isinstance(error, AudioError | BackendError):
        return error
    if isinstance(error, MemoryError):
        return undecodable("", f"it needs more than {MEMORY_BYTES >> 20} MiB of memory")
    if isinstance(error, OSError) and error.strerror:
        return undecodable("", error.strerror)  # the rest of it is the path
    return undecodable("", f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _asked() -> bool:
    """Wait for a request, but not for ever where that is possible."""
    if sys.platform == "win32":
        return True
    return bool(select.select([_REQUESTS], [], [], _IDLE_S)[0])


def _read(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(_REQUESTS, size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())

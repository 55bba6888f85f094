"""What a process that decodes and the one that asks it tell each other: little-endian frames of bounded length.

A request is a kind, where to begin, and a path; an answer is a kind and a content. What is answered may have been made up by
a file that has taken the decoder over, so it is checked.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio_source import MOST_S, SAMPLE_RATE, Gap

MOST_SAMPLES = SAMPLE_RATE  # in one frame
_MOST_TEXT = 2000  # bytes, of a reason or an error
_REQUEST = struct.Struct("<BdI")
_ANSWER = struct.Struct("<BI")
_DURATION = struct.Struct("<d")
_PERIOD = struct.Struct("<dd")
_LATEST_S = 2 * MOST_S  # a little more than the last moment of a recording that there can be


class Ask(IntEnum):
    """What is wanted."""

    FILE = 1  # open it
    STREAM = 2  # open what follows, to its end; nothing else can be asked any more
    NEXT = 3  # a block of the file, with the gaps before it, or the end
    CLOSE = 4  # no more of the file


class Tell(IntEnum):
    """What is sent back."""

    OPENED = 1
    SAMPLES = 2
    GAP = 3
    END = 4
    ERROR = 5
    CLOSED = 6  # all that was asked before has been answered


_ERRORS: dict[int, type[AudioError | BackendError]] = {1: AudioError, 2: BackendError}


class FrameError(Exception):
    """A frame that cannot have been meant so."""


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        ask: What is wanted.
        start_s: Where to begin, if a file is to be opened.
        path: Of the file; else empty.
    """

    ask: Ask
    start_s: float = 0.0
    path: bytes = b""

    def packed(self) -> bytes:
        """Return it as it is sent."""
        return _REQUEST.pack(self.ask, self.start_s, len(self.path)) + self.path


@dataclass(frozen=True)
class Opened:
    """A recording was opened.

    Attributes:
        duration_s: What it claims to last; None if it does not say.
    """

    duration_s: float | None


@dataclass(frozen=True)
class End:
    """Nothing more comes."""


@dataclass(frozen=True)
class Closed:
    """Another file may be opened."""


Answer = Opened | End | Closed | Gap | np.ndarray | AudioError | BackendError


def read_request(read: Callable[[int], bytes]) -> Request:
    """Read a request.

    Args:
        read: Reads exactly so many bytes.
    """
    ask, start_s, size = _REQUEST.unpack(read(_REQUEST.size))
    return Request(Ask(ask), start_s, read(size))


def packed(answer: Answer) -> bytes:
    """Return an answer as it is sent; ``MOST_SAMPLES`` at most, and errors without their place."""
    if isinstance(answer, np.ndarray):
        tell, content = Tell.SAMPLES, answer.astype("<f4", copy=False).tobytes()
    elif isinstance(answer, Gap):
        tell, content = Tell.GAP, _PERIOD.pack(answer.start_s, answer.end_s) + _short(answer.reason)
    elif isinstance(answer, Opened):
        tell, content = Tell.OPENED, _DURATION.pack(-1.0 if answer.duration_s is None else answer.duration_s)
    elif isinstance(answer, End | Closed):
        tell, content = Tell.END if isinstance(answer, End) else Tell.CLOSED, b""
    else:
        code = next(code for code, kind in _ERRORS.items() if isinstance(answer, kind))
        text = _short(answer.message) + b"\0" + _short(answer.remedy or "")
        tell, content = Tell.ERROR, bytes([code]) + text
    return _ANSWER.pack(tell, len(content)) + content


def read_answer(read: Callable[[int], bytearray]) -> Answer:
    """Read an answer.

    Args:
        read: Reads exactly so many bytes.

    Raises:
        FrameError: It is no answer, or holds what cannot be.
    """
    tell, size = _ANSWER.unpack(read(_ANSWER.size))
    if tell not in _READERS:
        raise FrameError(f"answers {tell}")
    least, most, reader = _READERS[tell]
    if not least <= size <= most:
        raise FrameError(f"sends {size} bytes")
    return reader(read(size))


def _opened(content: bytearray) -> Opened:
    (duration_s,) = _DURATION.unpack(content)
    return Opened(duration_s if 0 <= duration_s <= _LATEST_S else None)


def _samples(content: bytearray) -> np.ndarray:
    if len(content) % 4:
        raise FrameError("sends half a sample")
    samples = np.frombuffer(content, "<f4").astype(np.float32, copy=False)  # may be written to, as the bytes may be
    if not np.isfinite(samples).all():
        raise FrameError("sends samples that are not finite")
    return samples


def _gap(content: bytearray) -> Gap:
    start_s, end_s = _PERIOD.unpack_from(content)
    if not (0 <= start_s <= end_s and math.isfinite(end_s) and end_s <= 2 * _LATEST_S):
        raise FrameError("sends a gap that cannot be")
    return Gap(start_s, end_s, _text(content[_PERIOD.size :]))


def _error(content: bytearray) -> AudioError | BackendError:
    message, zero, remedy = content[1:].partition(b"\0")
    if content[0] not in _ERRORS or not zero or not message or not remedy:
        raise FrameError("sends an error that cannot be")
    return _ERRORS[content[0]](_text(message), remedy=_text(remedy))


# The least and the most bytes that each may have.
_READERS: dict[int, tuple[int, int, Callable[[bytearray], Answer]]] = {
    Tell.OPENED: (_DURATION.size, _DURATION.size, _opened),
    Tell.SAMPLES: (4, 4 * MOST_SAMPLES, _samples),
    Tell.GAP: (_PERIOD.size, _PERIOD.size + _MOST_TEXT, _gap),
    Tell.END: (0, 0, lambda _: End()),
    Tell.CLOSED: (0, 0, lambda _: Closed()),
    Tell.ERROR: (1, 2 + 2 * _MOST_TEXT, _error),
}


def _short(text: str) -> bytes:
    """On one line, without what a terminal would obey."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line.encode("utf-8", "replace")[:_MOST_TEXT]


def _text(content: bytearray) -> str:
    text = content.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)

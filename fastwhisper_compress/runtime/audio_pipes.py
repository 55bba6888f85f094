"""What comes through a pipe: bytes with a limit to the patience, and raw PCM."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastwhisper_compress.runtime.audio_source import Hole

_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"\x1a\x45\xdf\xa3", b"ID3", b"FORM", b"caff", b".snd")
_LONGEST_MAGIC = 8  # bytes


class Pipe:
    """Bytes as they come.

    Args:
        file: Whence they come. Where it has a file descriptor, that is read: nothing may have been read from it before.
        timeout_s: How long to wait for more; then the pipe counts as closed, and ``stalled``.
    """

    def __init__(self, file: BinaryIO, timeout_s: float | None) -> None:
        self._file = file
        self._timeout_s = timeout_s
        self._ahead = b""
        self.stalled = False
        try:
            self._descriptor: int | None = file.fileno()
        except (AttributeError, io.UnsupportedOperation):
            self._descriptor = None

    def read(self, size: int, *, unless: int | None = None) -> bytes:
        """Take what is there, at most so many bytes; wait if there is nothing. Nothing means the end.

        Args:
            size: How many.
            unless: A file descriptor; when it has something to read, this is the end. Only looked at where the pipe has
                a descriptor too, and the system can wait for both.
        """
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken or self._take(size, unless)

    def looks_like_a_container(self) -> bool:
        """Whether the first bytes are those of a known container."""
        while len(self._ahead) < _LONGEST_MAGIC and (more := self._take(_LONGEST_MAGIC - len(self._ahead))):
            self._ahead += more
        head = self._ahead
        frame_of_mpeg = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
        return head.startswith(_MAGIC) or head[4:8] == b"ftyp" or frame_of_mpeg

    @property
    def is_empty(self) -> bool:
        """Whether the pipe ended before there was a byte, once it was looked for a container."""
        return not self._ahead

    def _take(self, size: int, unless: int | None = None) -> bytes:
        if self.stalled:
            return b""
        if self._descriptor is None:
            return self._file.read(size)
        also = [] if unless is None or sys.platform == "win32" else [unless]
        if self._timeout_s is not None or also:
            ready, _, _ = select.select([self._descriptor, *also], [], [], self._timeout_s)
            self.stalled = not ready
            if self._descriptor not in ready:
                return b""
        return os.read(self._descriptor, size)


class RawPcm:
    """16 bits, little-endian, channels interleaved.

    Args:
        pipe: Whence it comes; it stays open.
        rate: In Hz.
        channels: How many.
    """

    def __init__(self, pipe: Pipe, rate: int, channels: int) -> None:
        self._pipe = pipe
        self._channels = channels
        self.rate = rate
        self.duration_s: float | None = None

    def parts(self) -> Iterator[np.ndarray | Hole]:
        """Take on. What is left of a frame when the stream closes is dropped."""
        frame = 2 * self._channels
        rest = b""
        while taken := self._pipe.read(self.rate * frame):
            content = rest + taken
            whole = len(content) // frame * frame
            content, rest = content[:whole], content[whole:]
            if whole:
                yield np.frombuffer(content, "<i2").reshape(-1, self._channels).astype(np.float32) / 32768

    def close(self) -> None:
        """Nothing is held."""

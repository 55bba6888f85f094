"""What a process that decodes may use: memory and time in proportion to what it is given, no files of its own, no core.

Linux keeps to all of it. macOS keeps to all but the memory. Windows has no such limits: there the process only keeps what
breaks in it away from the one that transcribes, and a decoder that never ends must be ended by hand.
"""

from __future__ import annotations

import math
import sys
import time

if sys.platform != "win32":
    import resource

MEMORY_BYTES = 512 << 20  # of data; the libraries take a fifth of it, an index of a day of audio another
_OPEN_FILES = 32
_LEAST_S = 4.0
_PER_MEGABYTE_S = 2.0  # MP3 at a bit rate that bears no speech takes half of it, on one slow core
_PER_AUDIO_S = 0.1


def computing_s(size_bytes: int, audio_s: float) -> float:
    """Return how many seconds of a processor decoding may take.

    Args:
        size_bytes: What there is to decode: some of it may have to be decoded before the first sample is found.
        audio_s: How much has come of it.
    """
    return _LEAST_S + size_bytes / 1e6 * _PER_MEGABYTE_S + audio_s * _PER_AUDIO_S


def restrain() -> None:
    """Take from this process, for good, what decoding does not need."""
    if sys.platform != "win32":
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_FSIZE, 0)
        _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
        if sys.platform == "linux":  # address space says little: libraries that are mapped are not in memory
            _lower(resource.RLIMIT_DATA, MEMORY_BYTES)


class Budget:
    """The time that this process may compute for one recording; when it is over the system ends the process (SIGXCPU)."""

    def __init__(self) -> None:
        self._begun_s = time.process_time()
        self._size_bytes = 0
        self._audio_s = 0.0
        self.allow()

    def allow(self, *, size_bytes: int = 0, audio_s: float = 0.0) -> None:
        """There is so much more to decode, or so much more has come of it."""
        self._size_bytes += size_bytes
        self._audio_s += audio_s
        if sys.platform != "win32":
            limit = math.ceil(self._begun_s + computing_s(self._size_bytes, self._audio_s))
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (_least(limit, hard), hard))


if sys.platform != "win32":

    def _lower(which: int, most: int) -> None:
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (_least(most, hard), _least(most, hard)))

    def _least(wanted: int, hard: int) -> int:
        return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)

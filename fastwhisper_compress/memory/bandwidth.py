"""How many bytes a second this host's memory moves, found by moving some."""

from __future__ import annotations

import ctypes
import mmap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB = 1024**2
_CHUNK_BYTES = 4 * _MIB
_LEAST_BYTES = 16 * _MIB
_PATIENCE_S = 0.25
_PASSES = 3
_UNKNOWN_CACHE_BYTES = 32 * _MIB


def measure_bandwidth(
    cache_bytes: int | None, room_bytes: int, threads: int, *, clock: Callable[[], float] = time.perf_counter
) -> float | None:
    """Copy one half of a buffer to the other with several threads; count bytes read and bytes written.

    Args:
        cache_bytes: Size of the last-level caches; the buffer is half as large again, so that little of it stays there.
        room_bytes: Memory that is free; no more than a quarter of it is taken.
        threads: How many copy at a time.
        clock: Tells seconds.

    Returns:
        Bytes per second of the best of three passes, or None if there is no room for the buffer, or the system took
        longer than a quarter of a second to provide it (as virtual machines can).
    """
    half = max(_LEAST_BYTES, (cache_bytes or _UNKNOWN_CACHE_BYTES) * 3 // 4)
    if 2 * half > room_bytes // 4:
        return None
    with mmap.mmap(-1, 2 * half) as buffer:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without them
                buffer.madvise(mmap.MADV_HUGEPAGE)
        view = (ctypes.c_char * (2 * half)).from_buffer(buffer)
        start = ctypes.addressof(view)
        try:
            return _copied(start, half, threads, clock) if _touched(start, 2 * half, clock) else None
        finally:
            del view  # the buffer cannot be closed under it


def _touched(start: int, size: int, clock: Callable[[], float]) -> bool:
    """Make the system provide every page; False if that takes too long."""
    deadline = clock() + _PATIENCE_S
    for offset in range(0, size, _CHUNK_BYTES):
        if clock() > deadline:
            return False
        ctypes.memset(start + offset, 1, min(_CHUNK_BYTES, size - offset))
    return True


def _copied(start: int, half: int, threads: int, clock: Callable[[], float]) -> float | None:
    share = half // threads

    def copy(place: int) -> None:
        ctypes.memmove(start + half + place * share, start + place * share, share)

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_PASSES):
            before = clock()
            list(pool.map(copy, range(threads)))  # ctypes lets go of the interpreter's lock meanwhile
            best = min(best, clock() - before)
    return 2 * share * threads / best if best > 0 else None

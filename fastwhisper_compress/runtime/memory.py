"""Take no more memory than is used, and give back what is not."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from contextlib import suppress

import numpy as np
import numpy.typing as npt


def untouched_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """Return zeros that take memory only where something is written, a small page at a time.

    ``np.zeros`` asks for huge pages (2 MiB) where it can have them, so that a few tokens in each row of a cache would
    take all of it.
    """
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):  # not Linux
        return np.zeros(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel built without huge pages does not know the word
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)


_M_MMAP_THRESHOLD = -3  # glibc's malloc.h
_LARGE_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Have the C allocator give every freed block of a megabyte and more straight back to the system.

    By itself glibc raises that limit to the largest block it has seen freed, and then keeps activations in a heap full
    of holes. Holds for the whole process, which costs it page faults. Does nothing where the allocator has no such call.
    """
    if sys.platform == "linux":
        tune = getattr(ctypes.CDLL(None), "mallopt", None)
        if tune is not None:
            tune(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def release_free_memory() -> None:
    """Return what the C allocator holds but nobody uses.

    Loading a model frees many blocks (weights that were unpacked, repacked or folded); glibc keeps them otherwise. Does
    nothing where the allocator has no such call.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

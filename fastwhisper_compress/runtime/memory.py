"""Give memory back to the system."""

from __future__ import annotations

import ctypes
import sys

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

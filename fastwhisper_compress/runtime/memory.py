"""Give memory back to the system."""

from __future__ import annotations

import ctypes
import sys


def release_free_memory() -> None:
    """Return what the C allocator holds but nobody uses.

    Loading a model frees many blocks (weights that were unpacked, repacked or folded); glibc keeps them otherwise. Does
    nothing where the allocator has no such call.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

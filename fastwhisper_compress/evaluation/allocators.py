"""What the allocators of this process hold without using it.

The C allocator of glibc and torch's CUDA allocator can be asked. ONNX Runtime's arena cannot: its Python package registers
allocators and takes their settings, but gives no statistics of them. What it keeps between clips is part of ``kept_bytes``
of a memory trace.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from fastwhisper_compress.evaluation.memory_probe import resident_bytes

_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def malloc_statistics() -> dict[str, int] | None:
    """Return what glibc's malloc holds and how much of it no one uses, or None for another C library.

    ``unused_bytes`` counts addresses, some of which may have been given back to the system; ``unused_resident_bytes`` is
    what really lies in memory: how far the resident set falls when malloc is told to give back all it can. That changes
    the process, so ask at its end.
    """
    if sys.platform != "linux":
        return None
    c_library = ctypes.CDLL(None)
    if not hasattr(c_library, "mallinfo2"):
        return None
    c_library.mallinfo2.restype = _MallInfo
    info = c_library.mallinfo2()
    before = resident_bytes()
    c_library.malloc_trim(0)
    return {
        "held_bytes": info.arena + info.hblkhd,
        "unused_bytes": info.fordblks,
        "unused_resident_bytes": max(0, before - resident_bytes()),
    }


def torch_memory() -> dict[str, int] | None:
    """Return what torch's CUDA allocator holds, or None where torch is not loaded or has used no GPU. Never imports it."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    return {
        "held_bytes": reserved,
        "unused_bytes": reserved - allocated,
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
    }

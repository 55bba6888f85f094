"""What ONNX Runtime must be told about the processor."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Not AMX alone, whose use the system can refuse; processors that have it list the first of these, too.
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni"})


@cache
def has_dot_products() -> bool:
    """Say whether an x86 adds products of 8 bits in 32 bits; where they are added in 16, they overflow.

    Only Linux lists such extensions; elsewhere the answer is no, which costs speed and never exactness.
    """
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return not _DOT_PRODUCTS.isdisjoint(flags.split())

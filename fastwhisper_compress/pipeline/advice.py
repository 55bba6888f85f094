"""What to say when memory has run out: what was asked for, what is there, and what would fit."""

from __future__ import annotations

import sys
from pathlib import Path

from fastwhisper_compress.errors import OutOfMemoryError


def shrunk(before: int, after: int) -> str:
    """Say that a batch became smaller."""
    return f"out of memory at {before} clips: going on with {after}"


def with_advice(error: OutOfMemoryError, artifact: Path) -> OutOfMemoryError:
    """Return the error with what memory there is; ``artifact`` is what ran out of it."""
    there = _there()
    message = f"{error.message} ({there})" if there else error.message
    return OutOfMemoryError(
        message,
        place=error.place or str(artifact),
        remedy=error.remedy,
        requested_bytes=error.requested_bytes,
    )


def _there() -> str:
    """Say what the machine has free and what this process may take, without loading a library: there may be no room."""
    if sys.platform != "linux":
        return ""
    import resource

    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    found = [f"{int(fields['MemAvailable'].split()[0]) * 1024 / 1e6:,.0f} MB of memory are free"]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(f"the address space is limited to {limit / 1e6:,.0f} MB")
    return ", ".join(found)

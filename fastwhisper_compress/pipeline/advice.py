"""What to say when memory has run out: what was needed, what is there, and what would fit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fastwhisper_compress.errors import OutOfMemoryError


def shrunk(before: int, after: int) -> str:
    """Say that a batch became smaller."""
    return f"out of memory at {before} clips: going on with {after}"


def with_advice(error: OutOfMemoryError, artifact: Path) -> OutOfMemoryError:
    """Return the error with what one clip needs, what there is, and the shipped recipe that would fit.

    Args:
        error: What was raised with one clip at a time, or while loading.
        artifact: What ran out of memory.
    """
    try:
        needed, remedy = _advice(artifact)
    except (MemoryError, ImportError, OSError):  # this very process may have no room left for what estimates
        needed, remedy = "", error.remedy or ""
    facts = "; ".join(filter(None, (error.message, needed, _there())))
    return OutOfMemoryError(
        facts, place=error.place or str(artifact), remedy=remedy, requested_bytes=error.requested_bytes
    )


def _advice(artifact: Path) -> tuple[str, str]:
    """Say what one clip needs in all, and what to do."""
    from fastwhisper_compress.memory.estimate import estimate
    from fastwhisper_compress.memory.fit import needed_bytes, shipped_options
    from fastwhisper_compress.memory.layout import layout_of
    from fastwhisper_compress.memory.local import detect
    from fastwhisper_compress.memory.working_set import Workload

    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    layout, work = layout_of(manifest), Workload()
    device = detect(layout.plan.provider)
    needed = needed_bytes(estimate(layout, work), device)
    smaller = [
        one for one in shipped_options(layout.dims, work, device) if one.impossible is None and one.peak < 0.95 * needed
    ]
    fitting = [one for one in smaller if one.peak <= (device.available_bytes or 0)]
    # The least compressed that fits; where none seems to, as when addresses are what is scarce, the smallest.
    best = max(fitting, key=lambda one: one.peak, default=None) or next(iter(smaller), None)
    if best is None:
        remedy = "free memory, or use a smaller model: no shipped recipe of this one is smaller"
    else:
        remedy = f"free memory, or use the recipe {best.recipe}, which needs about {_mb(best.peak)}"
    return f"one clip needs about {_mb(needed)} in all", remedy


def _there() -> str:
    """Say what the machine has free and what this process may take, without loading a library: there may be no room."""
    if sys.platform != "linux":
        return ""
    import resource

    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    found = [f"{_mb(int(fields['MemAvailable'].split()[0]) * 1024)} of memory are free"]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(f"the address space is limited to {_mb(limit)}, of which libraries take several hundred")
    return ", ".join(found)


def _mb(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"

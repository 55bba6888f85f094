"""What to say when memory has run out: what was needed, what is there, and what would fit."""

from __future__ import annotations

import json
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
    from fastwhisper_compress.memory.estimate import estimate
    from fastwhisper_compress.memory.fit import needed_bytes, shipped_options
    from fastwhisper_compress.memory.layout import layout_of
    from fastwhisper_compress.memory.local import detect
    from fastwhisper_compress.memory.working_set import Workload

    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    layout, work = layout_of(manifest), Workload()
    device = detect(layout.plan.provider)
    free = device.available_bytes or 0
    needed = needed_bytes(estimate(layout, work), device)
    options = [
        one
        for one in shipped_options(layout.dims, work, device)
        if one.impossible is None and one.peak <= min(free, needed - 1)
    ]
    best = max(options, key=lambda one: one.peak, default=None)
    if best is None:
        remedy = "free memory, or use a smaller model: no shipped recipe of this one fits"
    else:
        remedy = f"use the recipe {best.recipe}, which needs about {_mb(best.peak)}, or free memory"
    return OutOfMemoryError(
        f"{error.message}; one clip needs about {_mb(needed)}, {_mb(free)} are there",
        place=error.place or str(artifact),
        remedy=remedy,
        requested_bytes=error.requested_bytes,
    )


def _mb(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"

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
    try:
        needed, there, remedy = _advice(artifact)
    except Exception:  # noqa: BLE001 - this very process may have no room left for what estimates; the error matters more
        needed, there, remedy = "", "", error.remedy or ""
    facts = "; ".join(filter(None, (error.message, needed, there)))
    return OutOfMemoryError(
        facts, place=error.place or str(artifact), remedy=remedy, requested_bytes=error.requested_bytes
    )


def _advice(artifact: Path) -> tuple[str, str, str]:
    """Say what one clip needs in all, what is there, and what to do."""
    from fastwhisper_compress.checkpoint.dims import Dims
    from fastwhisper_compress.evaluation.memory_probe import resident_bytes
    from fastwhisper_compress.memory.estimate import estimate
    from fastwhisper_compress.memory.fit import recipes_for
    from fastwhisper_compress.memory.layout import layout_of
    from fastwhisper_compress.memory.limits import address_space, available_bytes
    from fastwhisper_compress.memory.working_set import Workload
    from fastwhisper_compress.nvml import open_nvml, read_gpus

    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    layout, work = layout_of(manifest), Workload()
    needed = estimate(layout, work).peak
    if layout.plan.provider == "cuda":
        free = next((gpu.free_bytes for gpu in read_gpus(open_nvml())), 0)
    else:
        free = available_bytes() + resident_bytes()  # what this process holds will be free when it has ended
    whole = Dims(**manifest["model"]["dims"])  # of the checkpoint: the artifact may have fewer layers
    options = recipes_for(whole, work, layout.plan.provider)
    smaller = sorted(((peak, name) for name, peak in options.items() if peak < 0.95 * needed), reverse=True)
    # The least compressed that fits; where none seems to, as when addresses are what is scarce, the smallest.
    best = next((one for one in smaller if one[0] <= free), smaller[-1] if smaller else None)
    if best is None:
        remedy = "free memory, or use a smaller model: no shipped recipe of this one is smaller"
    else:
        remedy = f"free memory, or use the recipe {best[1]}, which needs about {_mb(best[0])}"
    limit = address_space()
    told = "" if limit is None else f", and the limit on addresses is {_mb(limit)}, of which libraries take hundreds"
    return f"one clip needs about {_mb(needed)} in all", f"about {_mb(free)} can be had{told}", remedy


def _mb(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"

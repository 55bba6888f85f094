"""What may differ between two runs of one recipe on one machine: clocks, meters, and what is computed from them.

Everything else is the same to the last byte. Paths are dotted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RESULTS = (
    "created",
    "timings_s",
    "verdict",  # it tells of memory and speed
    "baseline.memory.peak_rss_bytes",
    "baseline.memory.rss_after_load_bytes",
    "baseline.memory.rss_imports_bytes",
    "baseline.memory.trace",
    "baseline.eval.load_s",
    "baseline.eval.wall_s",
    "baseline.eval.rtfx",
    "baseline.eval.measured_at",
    "candidate.memory.peak_rss_bytes",
    "candidate.memory.rss_after_load_bytes",
    "candidate.memory.rss_imports_bytes",
    "candidate.memory.trace",
    "candidate.eval.load_s",
    "candidate.eval.wall_s",
    "candidate.eval.rtfx",
    "candidate.eval.measured_at",
    "delta.rss_saved_pct",
    "delta.rtfx_ratio",
)
ROWS = ("wall_s",)
# These print the results and the rows, and must be what the results of the other run would print.
PAGES = ("report.md", "report.html", "README.md")


def with_volatile_of(other: Any, value: Any, paths: Sequence[str]) -> Any:
    """Return ``value`` with what is at the paths replaced by what ``other`` has there."""
    for path in paths:
        value = _replaced(value, other, path.split("."))
    return value


def _replaced(value: Any, other: Any, keys: Sequence[str]) -> Any:
    if not keys:
        return other
    first, *rest = keys
    if not isinstance(value, Mapping) or not isinstance(other, Mapping) or first not in value or first not in other:
        raise KeyError(first)
    return {key: _replaced(one, other[key], rest) if key == first else one for key, one in value.items()}

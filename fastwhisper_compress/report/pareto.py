"""Which runs nothing else beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Axis:
    """One cost to set against the error rate."""

    key: str
    field: str
    name: str
    more_is_better: bool
    scale: float


AXES = (
    Axis("size", "size_on_disk_bytes", "size on disk, MB", more_is_better=False, scale=1e-6),
    Axis("rss", "peak_rss_bytes", "peak RSS, MB", more_is_better=False, scale=1e-6),
    Axis("rtfx", "rtfx", "RTFx (higher is faster)", more_is_better=True, scale=1.0),
)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other point beats; both coordinates are costs, lower is better.

    A point is beaten by one that is no worse in both and better in one. Equal points stand together.
    """
    kept: set[tuple[float, float]] = set()
    best = float("inf")
    for point in sorted(set(points)):
        if point[1] < best:
            kept.add(point)
            best = point[1]
    return [index for index, point in enumerate(points) if point in kept]

"""Resident memory over time, in few points that keep every peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MOST_IN_DETAIL, MOST_LATER = 400, 200  # points of the first clips, and of all that follow
_ROOM = 4  # so many times as many are held before they are thinned


class Point(NamedTuple):
    """One moment: seconds since the start, what is held, and the number of the phase that goes on."""

    t_s: float
    rss_bytes: int
    phase: int
    vram_bytes: int | None = None


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """Keep at most so many points: the last, and of equal spans of time the first and the highest of each."""
    if len(points) <= most:
        return list(points)
    spans = (most - 1) // 2
    start, length = points[0].t_s, (points[-1].t_s - points[0].t_s) or 1.0
    kept: dict[int, tuple[Point, Point]] = {}
    for point in points:
        span = min(spans - 1, int(spans * (point.t_s - start) / length))
        first, highest = kept.get(span, (point, point))
        kept[span] = first, max(highest, point, key=lambda one: (one.rss_bytes, one.vram_bytes or 0))
    return sorted({point for pair in kept.values() for point in pair} | {points[-1]})


def with_peak(points: Sequence[Point], end_s: float, peak_bytes: int) -> list[Point]:
    """Put the peak of a phase where it was seen highest, or in the middle if nobody looked between its ends.

    Args:
        points: Its begin and what was sampled while it went on.
        end_s: When it ended.
        peak_bytes: The most that was held in it.
    """
    begin, *seen = points
    if peak_bytes <= max(point.rss_bytes for point in points):
        return list(points)
    if not seen:
        return [begin, begin._replace(t_s=(begin.t_s + end_s) / 2, rss_bytes=peak_bytes)]
    where = max(range(len(seen)), key=lambda index: seen[index].rss_bytes)
    seen[where] = seen[where]._replace(rss_bytes=peak_bytes)
    return [begin, *seen]


class Timeline:
    """Points in the order of time, many of the first clips and fewer later; bounded however long the process runs.

    Attributes:
        detail_s: When the detailed part ended; None while it goes on.
    """

    def __init__(self) -> None:
        self.detail_s: float | None = None
        self._detail: list[Point] = []
        self._later: list[Point] = []

    def extend(self, points: Sequence[Point]) -> None:
        """Take points that are later than all before."""
        if self.detail_s is None:
            self._detail = _bounded([*self._detail, *points], MOST_IN_DETAIL)
        else:
            self._later = _bounded([*self._later, *points], MOST_LATER)

    @property
    def points(self) -> list[Point]:
        """All of them, thinned."""
        return thin(self._detail, MOST_IN_DETAIL) + thin(self._later, MOST_LATER)


def _bounded(points: list[Point], most: int) -> list[Point]:
    return points if len(points) <= _ROOM * most else thin(points, most)

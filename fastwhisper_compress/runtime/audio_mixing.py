"""Channels and rates as they are stored to 16 kHz mono."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.runtime.audio_source import LOUDEST, SAMPLE_RATE, Gap, Hole, Source, note

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FINITE = "holds samples that are not finite, or louder than any sound"
LIVE_BLOCK = SAMPLE_RATE // 10  # what comes through a pipe should not wait for more
_BLOCK = SAMPLE_RATE * 3 // 4  # at least; a resampler holds a little of every second back


class Mixed:
    """A source as a :class:`Sound`: channels averaged, resampled, silence in its holes.

    Args:
        source: What decodes.
        start_s: Where in the recording it begins.
        least: How many samples make a block.
    """

    def __init__(self, source: Source, *, start_s: float = 0.0, least: int = _BLOCK) -> None:
        self._source = source
        self._start_s = start_s
        self._least = least
        self._frames = 0  # of the source, so far
        self._gaps: list[Gap] = []
        self.duration_s = source.duration_s

    def __iter__(self) -> Iterator[np.ndarray | Gap]:
        ready: list[np.ndarray] = []
        for found in self._resampled():
            if isinstance(found, Gap):
                yield found
                continue
            ready.append(found)
            if sum(map(len, ready)) >= self._least:
                yield ready[0] if len(ready) == 1 else np.concatenate(ready)
                ready = []
        if any(map(len, ready)):
            yield np.concatenate(ready)

    def close(self) -> None:
        """Give the file back; a pipe stays open."""
        self._source.close()

    def _resampled(self) -> Iterator[np.ndarray | Gap]:
        rate = self._source.rate
        if rate == SAMPLE_RATE:
            yield from self._mono()
            return
        import soxr

        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        for found in self._mono():
            yield found if isinstance(found, Gap) else stream.resample_chunk(found)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

    def _mono(self) -> Iterator[np.ndarray | Gap]:
        """Mix down; put silence into holes, except into one at the end."""
        hole: Hole | None = None
        for part in self._source.parts():
            if isinstance(part, Hole):
                if part.reason is not None:
                    yield self._noted(self._frames, self._frames + part.frames, part.reason)
                hole = part
                continue
            if hole is not None:
                yield from self._silence(hole.frames)
                hole = None
            finite = (np.abs(part) <= LOUDEST).all(axis=1)
            if not finite.all():
                yield from self._not_finite(finite)
                part = np.where(finite[:, None], part, 0)  # noqa: PLW2901
            self._frames += len(part)
            yield np.ascontiguousarray(part.mean(axis=1, dtype=np.float32), np.float32)

    def _silence(self, frames: int) -> Iterator[np.ndarray]:
        for first in range(0, frames, self._source.rate):
            count = min(frames - first, self._source.rate)
            self._frames += count
            yield np.zeros(count, np.float32)

    def _not_finite(self, finite: np.ndarray) -> list[Gap]:
        """Return the gaps that this makes, or makes longer."""
        before = max(0, len(self._gaps) - 1)
        edges = np.flatnonzero(np.diff(finite, prepend=True, append=True))
        for start, end in edges.reshape(-1, 2).tolist():
            self._noted(self._frames + start, self._frames + end, NOT_FINITE)
        return self._gaps[before:]

    def _noted(self, start: int, end: int, reason: str) -> Gap:
        """Return the gap, with all that lies near it."""
        rate = self._source.rate
        note(self._gaps, Gap(self._start_s + start / rate, self._start_s + end / rate, reason))
        return self._gaps[-1]

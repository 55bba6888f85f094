"""The batch that ``--batch-size auto`` stands for: as many clips as the memory that is free lets, within reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastwhisper_compress.memory.estimate import estimate
from fastwhisper_compress.memory.fit import most_that
from fastwhisper_compress.memory.layout import Layout
from fastwhisper_compress.memory.runtime import Running
from fastwhisper_compress.memory.weights import weigh
from fastwhisper_compress.memory.working_set import Workload

MOST_CLIPS = 16  # more hardly gain speed, and a clip waits for its batch to be full
SHARE = 0.8  # of what is free: the worst estimate we know of was 17 % too low, and others want memory too


@dataclass(frozen=True)
class BatchChoice:
    """A batch and why it is no other.

    Attributes:
        batch_size: How many clips, at least one.
        needed_bytes: What they need.
        more_bytes: What one more would need; None where more are not tried.
        free_bytes: What is free.
    """

    batch_size: int
    needed_bytes: int
    more_bytes: int | None
    free_bytes: int

    def __str__(self) -> str:
        free = f"{100 * SHARE:.0f} % of the {_mb(self.free_bytes)} that are free"
        if self.needed_bytes > SHARE * self.free_bytes:
            return f"batch size 1 (auto): one clip needs about {_mb(self.needed_bytes)}, more than {free}"
        why = "auto tries no more" if self.more_bytes is None else f"one more needs {_mb(self.more_bytes)}"
        return f"batch size {self.batch_size} (auto): needs about {_mb(self.needed_bytes)} of {free}; {why}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def choose_batch(layouts: Sequence[Layout], free_bytes: int, *, threads: int) -> BatchChoice:
    """Choose the largest batch of 30 s clips and the longest texts at which each of some artifacts fits.

    Args:
        layouts: The artifacts, which are to run one after the other at the same batch.
        free_bytes: What one may have.
        threads: Of the CPU provider.
    """
    weighed = [(layout, weigh(layout)) for layout in layouts]

    def needed(batch: int) -> int:
        work = Workload(batch)
        return max(estimate(layout, work, Running(threads), weights=weights).peak for layout, weights in weighed)

    found = max(1, most_that(lambda batch: needed(batch) <= SHARE * free_bytes, MOST_CLIPS))
    more = needed(found + 1) if found < MOST_CLIPS else None
    return BatchChoice(found, needed(found), more, free_bytes)


def _mb(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"

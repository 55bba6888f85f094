"""The parts of results.json that tell of batches: the one that was chosen, and what others cost and bring."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from fastwhisper_compress.report.memory_model import Record


class AutoBatch(Record):
    """The batch that ``auto`` came to on this machine, and what was estimated."""

    batch_size: PositiveInt
    needed_bytes: NonNegativeInt
    more_bytes: NonNegativeInt | None  # one clip more; None: more are not tried
    free_bytes: NonNegativeInt


class BatchPoint(Record):
    """The artifact at one batch size; figures are null where memory did not suffice."""

    batch_size: PositiveInt
    batch_size_used: PositiveInt | None  # what memory let through
    rtfx: NonNegativeFloat | None
    peak_rss_bytes: NonNegativeInt | None
    peak_vram_bytes: NonNegativeInt | None
    texts_equal: NonNegativeInt | None  # transcripts that are those of batch 1
    error: str | None


class Throughput(Record):
    """One artifact at several batch sizes, each in a fresh process on the same clips; the first is batch 1."""

    n_clips: PositiveInt
    audio_s: NonNegativeFloat
    threads: PositiveInt
    points: Annotated[tuple[BatchPoint, ...], Field(min_length=1)]

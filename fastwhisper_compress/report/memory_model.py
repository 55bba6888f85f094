"""The part of results.json that tells memory by phase, as measured and as predicted."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, model_validator


class Record(BaseModel):
    """What all parts of results.json share: keys that this version does not know are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, populate_by_name=True)


class PhaseInfo(Record):
    """All visits of one phase: exact or sampled peaks, and what was held when the last visit ended."""

    phase: str
    entries: NonNegativeInt
    seconds: NonNegativeFloat
    peak_rss_bytes: NonNegativeInt
    end_rss_bytes: NonNegativeInt
    anon_bytes: NonNegativeInt | None  # written by the process; null where the system does not tell
    file_bytes: NonNegativeInt | None  # pages of mapped files, such as weights
    peak_vram_bytes: NonNegativeInt | None


class MallocInfo(Record):
    """What the C allocator held at the end, and how much of that no one used."""

    held_bytes: NonNegativeInt
    unused_bytes: NonNegativeInt  # addresses, some without memory behind them
    unused_resident_bytes: NonNegativeInt


class TorchInfo(Record):
    """What torch's CUDA allocator held at the end."""

    held_bytes: NonNegativeInt
    unused_bytes: NonNegativeInt
    peak_allocated_bytes: NonNegativeInt


class Fragmentation(Record):
    """What is held without being used; null where there is no one to ask."""

    kept_since_load_bytes: int | None  # growth between loading and the end: buffers and arenas kept for the next clip
    malloc: MallocInfo | None
    torch: TorchInfo | None


class MemoryTraceInfo(Record):
    """Memory by phase and over time; of an evaluation that was resumed, the part after that."""

    method: str
    phases: tuple[PhaseInfo, ...]
    timeline: tuple[tuple[NonNegativeFloat, NonNegativeInt, NonNegativeInt], ...]  # seconds, RSS, index into phases
    timeline_vram_bytes: tuple[NonNegativeInt, ...] | None
    detail_s: NonNegativeFloat  # up to here the timeline is dense
    fragmentation: Fragmentation

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(phase >= len(self.phases) for _, _, phase in self.timeline):
            raise ValueError("the timeline names a phase that is not in phases")
        if self.timeline_vram_bytes is not None and len(self.timeline_vram_bytes) != len(self.timeline):
            raise ValueError("timeline_vram_bytes is not as long as timeline")
        return self

    def phase(self, name: str) -> PhaseInfo | None:
        """The phase of that name, if the process was ever in it."""
        return next((one for one in self.phases if one.phase == name), None)


class PredictedMemory(Record):
    """What was said before anything was loaded.

    ``phases`` holds the peak of each phase, of the whole process (of the GPU where one computes); ``parts`` what the largest
    of them is made of.
    """

    phases: dict[str, NonNegativeInt]
    parts: dict[str, NonNegativeInt]

"""The part of results.json that tells of recordings longer than a model hears at once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from fastwhisper_compress.report.memory_model import Record

Interval = tuple[float, float]


class Stretches(Record):
    """So many places of a kind, and the words in them."""

    n: NonNegativeInt
    n_words: NonNegativeInt


class PlaceInfo(Record):
    """Where something went wrong: text that was written there, or speech that is missing."""

    recording: str
    kind: Literal["invented", "dropped", "unspoken", "looped"]
    start_s: NonNegativeFloat
    end_s: NonNegativeFloat
    n_words: NonNegativeInt
    text: str


class Recordings(Record):
    """What one side made of the recordings; words are characters where the metric is ``cer``."""

    n_recordings: NonNegativeInt
    n_windows: NonNegativeInt
    audio_s: float
    gaps_s: NonNegativeFloat  # could not be decoded
    wall_s: float
    rtfx: float
    wer: float | None  # None: nothing was said
    n_ref_words: NonNegativeInt
    substitutions: NonNegativeInt
    deletions: NonNegativeInt
    insertions: NonNegativeInt
    invented: Stretches
    dropped: Stretches
    unspoken: Stretches | None  # None: the model cannot time words
    looped_windows: NonNegativeInt
    compressed_windows: NonNegativeInt
    places: tuple[PlaceInfo, ...]


class Shift(Record):
    """How far words start from where FP32 has them, those that both heard."""

    n_words: NonNegativeInt
    median_s: NonNegativeFloat
    p95_s: NonNegativeFloat
    share_in_place: float = Field(ge=0, le=1)
    in_place_s: float


class RecordingsDelta(Record):
    """Candidate minus baseline on the recordings alone, paired by window."""

    wer_delta_pp: float | None
    ci95_pp: Interval | None
    statement: str | None
    n_units: NonNegativeInt
    rtfx_ratio: float
    shift: Shift | None  # None: the model cannot time words, or no word was heard by both

"""When what was heard in a recording: the part of a row that a clip of at most 30 s does not have."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from fastwhisper_compress.evaluation.wer import align, normalise, units

Span = tuple[float, float]


@dataclass(frozen=True)
class TimedText:
    """A word or a segment, in seconds from the start of the recording."""

    start_s: float
    end_s: float
    text: str

    @property
    def middle_s(self) -> float:
        """Where it is looked for: its edges may reach into its neighbours."""
        return (self.start_s + self.end_s) / 2


@dataclass(frozen=True)
class Timeline:
    """What a model was given of a recording, and when it heard what.

    Attributes:
        windows: The pieces of the recording, start and end, that each window was put together from, all in order. They come
            from voice activity detection, which does not depend on the model: two models hear the same windows.
        segments: The text in pieces, in order.
        words: The text word by word; empty where the model cannot time words.
        gaps: What could not be decoded, and why.
    """

    windows: tuple[tuple[Span, ...], ...]
    segments: tuple[TimedText, ...]
    words: tuple[TimedText, ...] = ()
    gaps: tuple[TimedText, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read it from a row, as ``dataclasses.asdict`` has written it."""

        def pieces(key: str) -> tuple[TimedText, ...]:
            return tuple(TimedText(float(one["start_s"]), float(one["end_s"]), one["text"]) for one in data[key])

        windows = tuple(tuple((float(start), float(end)) for start, end in window) for window in data["windows"])
        return cls(windows, pieces("segments"), pieces("words"), pieces("gaps"))

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Start and end of every window."""
        return tuple((window[0][0], window[-1][1]) for window in self.windows)

    @cached_property
    def pieces(self) -> tuple[Span, ...]:
        """The pieces of all windows."""
        return tuple(piece for window in self.windows for piece in window)

    def window_at(self, time_s: float) -> int:
        """Return the number of the window that a moment belongs to."""
        return last_begun(self.spans, time_s)


def last_begun(spans: Sequence[Span], time_s: float) -> int:
    """Return the number of the last span that has begun at a moment, or of the first."""
    return max(0, bisect_right(spans, time_s, key=lambda span: span[0]) - 1)


def timed_units(text: str, pieces: Sequence[TimedText], language: str) -> tuple[TimedText, ...]:
    """Give every unit of a text, normalised as it is scored, the time of the piece it stands in.

    The normaliser works on the whole text: "twenty" and "three" become "23". So the pieces are normalised one by one,
    and aligned with the whole; what has no partner there takes the time of what precedes it.

    Args:
        text: The raw text.
        pieces: The same text, timed.
        language: Decides the normaliser and the unit.
    """
    whole = units(normalise(text, language), language)
    apart = [(unit, piece) for piece in pieces for unit in units(normalise(piece.text, language), language)]
    if not apart:
        return ()
    found: list[TimedText] = []
    last = apart[0][1]
    for chunk in align(whole, [unit for unit, _ in apart], language):
        for i, unit in enumerate(whole[chunk.ref_start : chunk.ref_end]):
            if chunk.op in ("equal", "substitute"):
                last = apart[chunk.hyp_start + i][1]
            found.append(TimedText(last.start_s, last.end_s, unit))
        if chunk.op == "insert":
            last = apart[chunk.hyp_end - 1][1]
    return tuple(found)

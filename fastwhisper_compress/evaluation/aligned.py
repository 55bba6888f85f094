"""One recording beside its reference: what every measure of long audio starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from fastwhisper_compress.evaluation.timeline import TimedText, Timeline, timed_units
from fastwhisper_compress.evaluation.wer import Chunk, Counts, align, joined, normalise, units

PAIRED = frozenset({"equal", "substitute"})


class Scored(Protocol):
    """What is read of a row; a report has rows of its own."""

    @property
    def id(self) -> str:
        """The utterance."""

    @property
    def text(self) -> str:
        """What was heard."""

    @property
    def reference(self) -> str:
        """What was said."""

    @property
    def speaker(self) -> str | None:
        """Who spoke, if it is known."""

    @property
    def error(self) -> str | None:
        """Why nothing was heard."""

    @property
    def counts(self) -> Counts:
        """Edit counts."""

    @property
    def timeline(self) -> Timeline | None:
        """When what was heard, of a recording."""


@dataclass(frozen=True)
class Aligned:
    """A recording and what a model heard in it.

    Units are normalised words, or characters where the language is scored by character.

    Attributes:
        id: The recording.
        language: Decides the normaliser and the unit.
        reference: Units of the reference.
        heard: Units of the transcript with their times: those of its words, or else of its segments.
        timeline: Windows, segments and words.
        chunks: The alignment of both, at the least number of edits.
    """

    id: str
    language: str
    reference: tuple[str, ...]
    heard: tuple[TimedText, ...]
    timeline: Timeline
    chunks: tuple[Chunk, ...]

    @cached_property
    def windows(self) -> tuple[int, ...]:
        """The window that each unit heard belongs to, by the middle of its time."""
        return tuple(self.timeline.window_at(one.middle_s) for one in self.heard)

    def steps(self) -> Iterator[tuple[str, int | None, int | None]]:
        """Walk the alignment unit by unit: the operation, and the places in ``reference`` and ``heard``."""
        for chunk in self.chunks:
            for i in range(max(chunk.ref_end - chunk.ref_start, chunk.hyp_end - chunk.hyp_start)):
                yield (
                    chunk.op,
                    None if chunk.op == "insert" else chunk.ref_start + i,
                    None if chunk.op == "delete" else chunk.hyp_start + i,
                )

    def text(self, start: int, end: int) -> str:
        """Return what was heard, from one unit to another."""
        return joined([one.text for one in self.heard[start:end]], self.language)

    def said(self, start: int, end: int) -> str:
        """Return what the reference has, from one unit to another."""
        return joined(self.reference[start:end], self.language)


def aligned(row: Scored, language: str) -> Aligned:
    """Align a row with its reference; one without a timeline (audio that failed) heard nothing."""
    timeline = row.timeline or Timeline((), ())
    reference = units(normalise(row.reference, language), language)
    heard = timed_units(row.text, timeline.words or timeline.segments, language)
    chunks = align(reference, [one.text for one in heard], language)
    return Aligned(row.id, language, tuple(reference), heard, timeline, tuple(chunks))

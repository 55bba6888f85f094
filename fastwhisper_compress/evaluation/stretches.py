"""Invented and dropped speech: long runs of errors of one kind, which a rate of single words hides.

Ten words lost one by one are a weak model; ten words lost in a row are a sentence that nobody will ever know of. A
**stretch** is everything between two words that were heard right. At the least number of edits it never holds insertions
and deletions both (an insertion beside a deletion is one substitution), so the difference of its two lengths says what it
is: at least four words more than were said are *invented*, at least four fewer are *dropped*. Words substituted inside do
not count, and one word that happens to fit ("the") does not part two stretches of one kind.

Four, because fewer are ordinary errors: a compound written apart, a contraction, a stumble that the reference leaves out.
Studies of Whisper's hallucinations look at phrases of such length (Koenecke et al. 2024, "Careless Whisper", who find
them where speakers pause; Barański et al. 2025, who find the same few phrases whenever there is no speech). Where a
language is scored by character it is eight, as words there have about two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fastwhisper_compress.evaluation.wer import metric_for

if TYPE_CHECKING:
    from fastwhisper_compress.evaluation.aligned import Aligned
    from fastwhisper_compress.evaluation.wer import Chunk

LEAST_UNITS = {"wer": 4, "cer": 8}
_CHANCE_HITS = 1  # units heard right that do not part two stretches

Kind = Literal["invented", "dropped"]


@dataclass(frozen=True)
class Stretch:
    """A place where text was invented or speech was dropped.

    Attributes:
        n_units: How many units too many or too few.
        ref, hyp: Half-open spans of units in the reference and in the transcript.
    """

    kind: Kind
    n_units: int
    ref: tuple[int, int]
    hyp: tuple[int, int]


def stretches(recording: Aligned) -> list[Stretch]:
    """Return every stretch of a recording, in order."""
    least = LEAST_UNITS[metric_for(recording.language)]
    found = []
    for ref, hyp in _between_hits(recording.chunks):
        surplus = (hyp[1] - hyp[0]) - (ref[1] - ref[0])
        if abs(surplus) >= least:
            found.append(Stretch("invented" if surplus > 0 else "dropped", abs(surplus), ref, hyp))
    return found


def span_s(recording: Aligned, stretch: Stretch) -> tuple[float, float]:
    """Return when a stretch is: the time of its words, or from the word before it to the word behind."""
    heard, (start, end) = recording.heard, stretch.hyp
    if stretch.kind == "invented":
        return heard[start].start_s, heard[end - 1].end_s
    spans = recording.timeline.spans
    first = heard[start - 1].end_s if start else spans[0][0] if spans else 0.0
    last = heard[end].start_s if end < len(heard) else spans[-1][1] if spans else 0.0
    return first, max(first, last)


def _between_hits(chunks: Sequence[Chunk]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Give the spans between units heard right, those parted by a chance hit joined where they err alike."""
    held: tuple[tuple[int, int], tuple[int, int]] | None = None
    for ref, hyp in _errors(chunks):
        if held is not None:
            near = ref[0] - held[0][1] <= _CHANCE_HITS
            if near and _surplus(*held) * _surplus(ref, hyp) > 0:
                held = (held[0][0], ref[1]), (held[1][0], hyp[1])
                continue
            yield held
        held = ref, hyp
    if held is not None:
        yield held


def _errors(chunks: Sequence[Chunk]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Join neighbouring chunks that are not hits."""
    run: list[Chunk] = []
    for chunk in [*chunks, None]:
        if chunk is not None and chunk.op != "equal":
            run.append(chunk)
        elif run:
            yield (run[0].ref_start, run[-1].ref_end), (run[0].hyp_start, run[-1].hyp_end)
            run = []


def _surplus(ref: tuple[int, int], hyp: tuple[int, int]) -> int:
    return (hyp[1] - hyp[0]) - (ref[1] - ref[0])

"""What errors are paired by: utterances, and within a recording its windows.

An interval needs many units that could have come out otherwise, and a recording of an hour is one utterance. Its windows
serve: both models hear the same ones, each is decoded by itself (a slip or a loop ends with its window), and there are two
a minute and more. Errors are then more alike within a recording than between recordings (one speaker, one room), so such
an interval speaks of this recording and of others like it; the report says what was resampled.

A reference has no times. The FP32 transcript has, so each reference word belongs to the window of the FP32 word that the
alignment pairs it with (a deleted one to that of the word before). The candidate's errors are booked by the same
reference words; an insertion belongs to the reference word before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from fastwhisper_compress.evaluation.aligned import Aligned, Scored, aligned
from fastwhisper_compress.evaluation.timeline import Span
from fastwhisper_compress.evaluation.wer import Counts, joined


@dataclass(frozen=True)
class Unit:
    """What one model made of one unit.

    Attributes:
        id: The utterance.
        speaker: Of the utterance.
        reference, text: Raw for a clip, normalised for a window, which has no raw reference of its own.
        error: Why nothing was heard.
        span_s: Of a window: where in the recording it is.
    """

    id: str
    speaker: str | None
    reference: str
    text: str
    counts: Counts
    error: str | None = None
    span_s: Span | None = None


@dataclass
class _Part:
    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    ops: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        ops = self.ops
        return Counts(ops.count("equal"), ops.count("substitute"), ops.count("delete"), ops.count("insert"))


def paired_units(baseline: Sequence[Scored], candidate: Sequence[Scored], language: str) -> list[tuple[Unit, Unit]]:
    """Pair what two models made of the same utterances; recordings fall into their windows."""
    found: list[tuple[Unit, Unit]] = []
    for pair in zip(baseline, candidate, strict=True):
        if any(row.timeline for row in pair):
            found += _windows(*pair, language)
        else:
            found.append((_whole(pair[0]), _whole(pair[1])))
    return found


def unit_name(rows: Sequence[Scored]) -> str:
    """Say what is paired: ``utterance``, ``window``, or ``utterance or window`` where a suite holds both."""
    recordings = [row.timeline is not None for row in rows]
    return "window" if all(recordings) else "utterance or window" if any(recordings) else "utterance"


def _whole(row: Scored) -> Unit:
    return Unit(row.id, row.speaker, row.reference, row.text, row.counts, row.error)


def _windows(before: Scored, after: Scored, language: str) -> list[tuple[Unit, Unit]]:
    sides = [aligned(row, language) for row in (before, after)]
    owners = _owners(sides[0])
    parts = [_parts(side, owners) for side in sides]
    spans = sides[0].timeline.spans or sides[1].timeline.spans
    found = []
    for number in sorted(parts[0].keys() | parts[1].keys()):
        span = spans[number] if spans else None
        pair = []
        for row, of in zip((before, after), parts, strict=True):
            part = of.get(number, _Part())
            said, heard = joined(part.said, language), joined(part.heard, language)
            pair.append(Unit(before.id, row.speaker, said, heard, part.counts, row.error, span))
        found.append((pair[0], pair[1]))
    return found


def _owners(baseline: Aligned) -> list[int]:
    """Return the window of every reference unit; they never go back, as time does not."""
    pairs = {ref: hyp for _, ref, hyp in baseline.steps() if ref is not None and hyp is not None}
    first = next((baseline.windows[hyp] for hyp in pairs.values()), 0)
    owners = (baseline.windows[pairs[ref]] if ref in pairs else first for ref in range(len(baseline.reference)))
    return list(accumulate(owners, max))


def _parts(side: Aligned, owners: Sequence[int]) -> dict[int, _Part]:
    found: dict[int, _Part] = {}
    number = owners[0] if owners else 0
    for op, ref, hyp in side.steps():
        if ref is not None:
            number = owners[ref]
        part = found.setdefault(number, _Part())
        part.ops.append(op)
        if ref is not None:
            part.said.append(side.reference[ref])
        if hyp is not None:
            part.heard.append(side.heard[hyp].text)
    return found

"""The section on long recordings: what breaks there first, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import (
    NONE,
    clock,
    count,
    interval,
    number,
    percent,
    points,
    ratio,
    seconds,
    signed,
)
from fastwhisper_compress.report.judge import SYNTHETIC
from fastwhisper_compress.report.table import Table
from fastwhisper_compress.report.utterances import Utterance, beside

if TYPE_CHECKING:
    from fastwhisper_compress.report.model import Results
    from fastwhisper_compress.report.recordings_model import PlaceInfo, Recordings, RecordingsDelta
    from fastwhisper_compress.report.utterances import Align, Pair

PLACES_SHOWN = 12
_KINDS = {
    "invented": "invented",
    "dropped": "dropped",
    "unspoken": "text where nobody spoke",
    "looped": "went round in a circle",
}


@dataclass(frozen=True)
class Place:
    """A place where something went wrong.

    Attributes:
        window: Number of the window that shows it in its context, from 1; None where there is none.
    """

    time: str
    recording: str
    side: str
    kind: str
    size: str
    text: str
    window: int | None


@dataclass(frozen=True)
class RecordingsSection:
    """What the report says about recordings; ``windows`` are those that the places link to."""

    summary: str
    figures: Table
    shift: Table
    places: tuple[Place, ...]
    windows: tuple[Utterance, ...]
    places_table: Table


def recordings_section(results: Results, pairs: Sequence[Pair], align: Align | None = None) -> RecordingsSection | None:
    """Format what is known of recordings; None where the suite holds clips alone."""
    before, after, delta = results.baseline.eval.recordings, results.candidate.eval.recordings, results.delta.recordings
    if before is None or after is None or delta is None:
        return None
    tail = f" ({SYNTHETIC})" if results.suite.synthetic else ""
    worst = sorted(
        [("FP32", place) for place in before.places] + [("Candidate", place) for place in after.places],
        key=lambda one: -one[1].n_words,
    )[:PLACES_SHOWN]
    unit = "character" if results.candidate.eval.metric == "cer" else "word"
    homes = [_home(place, pairs) for _, place in worst]
    shown = list(dict.fromkeys(home for home in homes if home is not None))
    places = tuple(
        Place(
            clock(place.start_s),
            place.recording,
            side,
            _KINDS[place.kind],
            count(place.n_words, unit),
            place.text,
            None if home is None else shown.index(home) + 1,
        )
        for (side, place), home in zip(worst, homes, strict=True)
    )
    return RecordingsSection(
        _summary(after, delta),
        _figures(results, before, after, delta, tail),
        _shift(delta, tail),
        places,
        tuple(beside(pairs[home], results.suite.language, align) for home in shown),
        Table(
            "Where most went wrong",
            ("Time", "Recording", "Side", "What", "Size", "Text"),
            tuple((one.time, one.recording, one.side, one.kind, one.size, one.text) for one in places),
            n_labels=6,
        ),
    )


def _summary(after: Recordings, delta: RecordingsDelta) -> str:
    return (
        f"{count(after.n_recordings, 'recording')} of more than 30 s, {seconds(after.audio_s)} of audio, heard in packed form:"
        f" {count(delta.n_units, 'window')} of speech, at most 30 s each, the same for both models. Differences in errors "
        "are paired by these windows, and a window is what was resampled for the interval: it speaks of these recordings and "
        "others like them, not of other speakers or rooms. An invented or dropped stretch is four words and more (of "
        "characters eight) too many or too few between two that were heard right."
    )


def _figures(results: Results, before: Recordings, after: Recordings, delta: RecordingsDelta, tail: str) -> Table:
    metric = results.candidate.eval.metric.upper()
    change = NONE if delta.wer_delta_pp is None else points(delta.wer_delta_pp)

    def rate(value: float | None) -> str:
        return NONE if value is None else percent(value)

    def counts(name: str, a: int, b: int) -> tuple[str, str, str, str]:
        return name, number(a), number(b), signed(b - a)

    def stretches(name: str, key: str) -> tuple[str, str, str, str]:
        old, new = getattr(before, key), getattr(after, key)
        shown = [NONE if one is None else f"{number(one.n)}, {number(one.n_words)}" for one in (old, new)]
        known = old is not None and new is not None
        moved = f"{signed(new.n - old.n)}, {signed(new.n_words - old.n_words)}" if known else ""
        return name, shown[0], shown[1], moved

    unit = "characters" if metric == "CER" else "words"
    gaps = [("Could not be decoded", seconds(before.gaps_s), seconds(after.gaps_s), "")]
    return Table(
        f"Long recordings{tail}",
        ("", "FP32", "Candidate", "Change"),
        (
            (metric, rate(before.wer), rate(after.wer), change),
            ("95 % interval, by window", "", "", interval(delta.ci95_pp)),
            counts("Substitutions", before.substitutions, after.substitutions),
            counts("Deletions", before.deletions, after.deletions),
            counts("Insertions", before.insertions, after.insertions),
            stretches(f"Invented stretches, {unit} too many", "invented"),
            stretches(f"Dropped stretches, {unit} missing", "dropped"),
            stretches(f"Pieces with text where nobody spoke, {unit}", "unspoken"),
            counts("Windows that went round in a circle", before.looped_windows, after.looped_windows),
            counts("Windows whose text shrinks by more than 2.4", before.compressed_windows, after.compressed_windows),
            (
                "RTFx (finding speech, reading and resampling included)",
                number(before.rtfx, 1),
                number(after.rtfx, 1),
                ratio(delta.rtfx_ratio),
            ),
            ("Windows", number(before.n_windows), number(after.n_windows), ""),
            ("Audio", seconds(before.audio_s), seconds(after.audio_s), ""),
            *(gaps if before.gaps_s or after.gaps_s else []),
        ),
    )


def _shift(delta: RecordingsDelta, tail: str) -> Table:
    shift = delta.shift
    caption = f"Starts of words, compared with FP32{tail}"
    if shift is None:
        why = "not measured: a model cannot time words, or no word was heard by both"
        return Table(caption, ("Statistic", "Value"), (("Shift", why),), n_labels=2)
    return Table(
        caption,
        ("Statistic", "Value"),
        (
            ("Median shift", seconds(shift.median_s)),
            ("95th percentile", seconds(shift.p95_s)),
            (f"Within {shift.in_place_s:g} s", percent(shift.share_in_place, 1)),
            ("Words that both heard", number(shift.n_words)),
        ),
    )


def _home(place: PlaceInfo, pairs: Sequence[Pair]) -> int | None:
    """Return which pair is the window that a place begins in."""
    found = None
    for number_, (unit, _) in enumerate(pairs):
        if (
            unit.id == place.recording
            and unit.span_s is not None
            and (found is None or unit.span_s[0] <= place.start_s)
        ):
            found = number_
    return found

"""What compression breaks first on long audio, gathered from the recordings of a suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.evaluation import wer
from fastwhisper_compress.evaluation.loops import window_texts
from fastwhisper_compress.evaluation.shift import start_shifts_s, summary
from fastwhisper_compress.evaluation.stretches import span_s, stretches
from fastwhisper_compress.evaluation.units import paired_units
from fastwhisper_compress.evaluation.unspoken import unspoken

if TYPE_CHECKING:
    from fastwhisper_compress.evaluation.aligned import Aligned
    from fastwhisper_compress.evaluation.result import Evaluation, Row

PLACES = 20  # kept of each side
_LONGEST_TEXT = 400  # characters of a place that are kept


@dataclass(frozen=True)
class Place:
    """Where something went wrong in a recording.

    Attributes:
        kind: ``invented``, ``dropped``, ``unspoken`` or ``looped``.
        start_s, end_s: Seconds from the start of the recording.
        n_words: Words (or characters) too many or too few; of a loop, all of its window.
        text: What was written, or was said and is missing.
    """

    recording: str
    kind: str
    start_s: float
    end_s: float
    n_words: int
    text: str


def places(recording: Aligned) -> Iterator[Place]:
    """Find every place of every kind in a recording."""
    for stretch in stretches(recording):
        text = recording.text(*stretch.hyp) if stretch.kind == "invented" else recording.said(*stretch.ref)
        yield Place(recording.id, stretch.kind, *span_s(recording, stretch), stretch.n_units, text)
    if recording.timeline.words:
        for start_s, end_s, text in unspoken(recording):
            n_units = len(wer.units(text, recording.language))
            yield Place(recording.id, "unspoken", start_s, end_s, n_units, text)
    for span, window in zip(recording.timeline.spans, window_texts(recording), strict=True):
        if window.looped:
            yield Place(recording.id, "looped", *span, window.n_heard, window.text.strip())


def figures(rows: Sequence[Row], recordings: Sequence[Aligned]) -> dict[str, Any] | None:
    """Return the ``recordings`` part of an evaluation, or None where there are no recordings.

    Args:
        rows: The recordings' rows.
        recordings: The same, aligned with their references.
    """
    if not rows:
        return None
    counts = wer.total(row.counts for row in rows)
    audio_s, wall_s = sum(row.audio_s for row in rows), sum(row.wall_s for row in rows)
    found = [place for one in recordings for place in places(one)]
    timed = all(one.timeline.words or not one.heard for one in recordings)

    def sums(kind: str) -> dict[str, int]:
        sizes = [place.n_words for place in found if place.kind == kind]
        return {"n": len(sizes), "n_words": sum(sizes)}

    return {
        "n_recordings": len(rows),
        "n_windows": sum(len(one.timeline.windows) for one in recordings),
        "audio_s": audio_s,
        "gaps_s": sum(gap.end_s - gap.start_s for one in recordings for gap in one.timeline.gaps),
        "wall_s": wall_s,
        "rtfx": audio_s / wall_s,
        "wer": wer.error_rate(counts) if counts.n_ref_words else None,
        "n_ref_words": counts.n_ref_words,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "invented": sums("invented"),
        "dropped": sums("dropped"),
        "unspoken": sums("unspoken") if timed else None,
        "looped_windows": sums("looped")["n"],
        "compressed_windows": sum(window.compressed for one in recordings for window in window_texts(one)),
        "places": [_short(place) for place in sorted(found, key=lambda place: -place.n_words)[:PLACES]],
    }


def delta(baseline: Evaluation, candidate: Evaluation, *, seed: int) -> dict[str, Any] | None:
    """Return the ``recordings`` part of a comparison, or None where there are no recordings.

    The difference in errors on the recordings alone, paired by window, and how far the times of words have moved.
    """
    if baseline.recordings is None or candidate.recordings is None:
        return None
    from fastwhisper_compress.evaluation.stats import paired_delta

    rows = [
        (before, after)
        for before, after in zip(baseline.rows, candidate.rows, strict=True)
        if before.timeline or after.timeline
    ]
    pairs = paired_units([one for one, _ in rows], [one for _, one in rows], baseline.language)
    paired = dict.fromkeys(("wer_delta_pp", "ci95_pp", "statement"))
    if any(before.counts.n_ref_words for before, _ in pairs):
        found = paired_delta(
            [before.counts for before, _ in pairs],
            [after.counts for _, after in pairs],
            seed=seed,
            metric=baseline.metric,
            n_transcripts_differ=sum(before.text != after.text for before, after in pairs),
            unit="window",
        )
        paired = {key: found[key] for key in paired}
    heard = {one.id: one for one in candidate.aligned}
    shifts = [shift for one in baseline.aligned if one.id in heard for shift in start_shifts_s(one, heard[one.id])]
    return {
        **paired,
        "n_units": len(pairs),
        "rtfx_ratio": candidate.recordings["rtfx"] / baseline.recordings["rtfx"],
        "shift": summary(shifts),
    }


def _short(place: Place) -> dict[str, Any]:
    text = place.text
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT].rstrip() + " \N{HORIZONTAL ELLIPSIS}"
    return asdict(place) | {"text": text}

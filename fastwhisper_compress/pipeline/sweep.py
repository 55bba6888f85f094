"""Speed and memory of one artifact at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastwhisper_compress.errors import ResourceError, UsageError
from fastwhisper_compress.evaluation.measure import Evaluation
from fastwhisper_compress.evaluation.suite import Suite

_FEWEST_CLIPS = 32  # or twice the largest batch; every size hears the same clips
_LARGEST = 1024

Measure = Callable[[Suite, int], Evaluation]
"""Measures the artifact on a suite at a batch size, in a fresh process."""


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read ``--batch-sweep``, in rising order; 1 is always among them, since others are compared with it.

    Raises:
        UsageError: It is no list of batch sizes.
    """
    words = [one.strip() for one in text.split(",")]
    if not all(one.isascii() and one.isdigit() and len(one) <= 4 and 1 <= int(one) <= _LARGEST for one in words):
        raise UsageError(
            f"not a list of whole numbers from 1 to {_LARGEST}: {text!r}",
            place="--batch-sweep",
            remedy="write it as 1,2,4,8,16",
        )
    return tuple(sorted({1, *map(int, words)}))


def check_sizes(sizes: Sequence[int], suite: Suite) -> None:
    """Refuse batches that the suite cannot fill.

    Raises:
        UsageError: A size is larger than the number of clips.
    """
    n_clips = len(suite.utterances)
    if max(sizes, default=0) > n_clips:
        raise UsageError(
            f"a batch of {max(sizes)} cannot be filled with the {n_clips} clips of {suite.name}",
            place="--batch-sweep",
            remedy="leave out what is larger, or measure on more clips",
        )


def sweep(sizes: Sequence[int], suite: Suite, measure: Measure) -> dict[str, Any]:
    """Return the ``throughput`` part of results.json.

    Args:
        sizes: In rising order, the first of them 1.
        suite: Its first clips are used.
        measure: What to call for each size. Where memory does not suffice for one, larger ones are not tried.
    """
    n_clips = min(len(suite.utterances), max(_FEWEST_CLIPS, 2 * sizes[-1]))
    clips = replace(suite, utterances=suite.utterances[:n_clips], limit=n_clips)
    single = measure(clips, 1)
    points = [_point(1, single, single)]
    for size in sizes[1:]:
        try:
            points.append(_point(size, measure(clips, size), single))
        except ResourceError as error:
            points.append(_failed(size, error))
            break
    return {
        "n_clips": n_clips,
        "audio_s": sum(row.audio_s for row in single.rows),
        "threads": single.threads,
        "points": points,
    }


def _point(size: int, found: Evaluation, single: Evaluation) -> dict[str, Any]:
    pairs = zip(found.rows, single.rows, strict=True)
    return {
        "batch_size": size,
        "batch_size_used": found.process["batch_size_used"],
        "rtfx": found.rtfx,
        "peak_rss_bytes": found.process["peak_rss_bytes"],
        "peak_vram_bytes": found.process["peak_vram_bytes"],
        "texts_equal": sum(one.text == other.text for one, other in pairs),
        "error": None,
    }


def _failed(size: int, error: ResourceError) -> dict[str, Any]:
    figures = ("batch_size_used", "rtfx", "peak_rss_bytes", "peak_vram_bytes", "texts_equal")
    return {"batch_size": size, **dict.fromkeys(figures), "error": error.message}

"""How far a compressed model moves the times of words.

No suite of recordings has times of its words, so the measure is FP32: words that both models heard, found by aligning their
two texts, and the difference of their starts. A word is in place when it starts within 0.2 s of where FP32 has it: the
collar by which WhisperX judges word times (Bain et al. 2023), ten steps of Whisper's own clock. Ends are not compared:
alignment by attention knows them less well, as pauses go to the word before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastwhisper_compress.evaluation.aligned import Aligned

IN_PLACE_S = 0.2


def start_shifts_s(baseline: Aligned, candidate: Aligned) -> list[float]:
    """Return the start in the candidate less that in the baseline, for every word that both heard.

    Empty where one of the two has no times of words: those of segments say nothing about a word.
    """
    from fastwhisper_compress.evaluation.wer import align

    if not (baseline.timeline.words and candidate.timeline.words):
        return []
    texts = [[one.text for one in side.heard] for side in (baseline, candidate)]
    return [
        candidate.heard[chunk.hyp_start + i].start_s - baseline.heard[chunk.ref_start + i].start_s
        for chunk in align(texts[0], texts[1], baseline.language)
        if chunk.op == "equal"
        for i in range(chunk.ref_end - chunk.ref_start)
    ]


def summary(shifts_s: Sequence[float]) -> dict[str, Any] | None:
    """Return median, 95th percentile and share in place of the absolute shifts; None where there are none."""
    import numpy as np

    if not shifts_s:
        return None
    size = np.abs(np.asarray(shifts_s))
    return {
        "n_words": len(size),
        "median_s": float(np.median(size)),
        "p95_s": float(np.percentile(size, 95)),
        "share_in_place": float((size <= IN_PLACE_S + 1e-6).mean()),
        "in_place_s": IN_PLACE_S,
    }

"""Text where nobody spoke: what Whisper makes of music, noise and breath that voice activity detection let through.

The phrases are few and short ("Thank you.", Barański et al. 2025), so their length does not give them away. What does is
the reference: a piece of the recording, one second and more between two silences, that the model wrote something for, and
the alignment pairs none of it with a word of the reference.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fastwhisper_compress.evaluation.aligned import PAIRED
from fastwhisper_compress.evaluation.timeline import last_begun

if TYPE_CHECKING:
    from fastwhisper_compress.evaluation.aligned import Aligned

SHORTEST_S = 1.0  # a shorter piece may be a word whose neighbour was timed across the silence


def unspoken(recording: Aligned) -> list[tuple[float, float, str]]:
    """Return start, end and text of the pieces that have text and nothing was said in; needs times of words."""
    pieces = recording.timeline.pieces
    owners = [last_begun(pieces, one.middle_s) for one in recording.heard]
    paired = Counter(owners[hyp] for op, _, hyp in recording.steps() if op in PAIRED and hyp is not None)
    found = []
    for number in sorted(set(owners) - set(paired)):
        start_s, end_s = pieces[number]
        if end_s - start_s >= SHORTEST_S:
            first = owners.index(number)
            found.append((start_s, end_s, recording.text(first, first + owners.count(number))))
    return found

"""Segments out of tokens with timestamps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastwhisper_compress.runtime.timestamp_rules import TIMESTAMP_S
from fastwhisper_compress.runtime.transcript import Segment


def segments_of(
    tokens: Sequence[int], timestamp_begin: int, length_s: float, text_of: Callable[[Sequence[int]], str]
) -> tuple[Segment, ...]:
    """Return what the timestamps delimit.

    Text before the first timestamp begins with the clip, text behind the last one ends with it. No time lies beyond the
    clip: on a window that is longer, the model may take the silence behind it for a part of the last segment.

    Args:
        tokens: Of text and timestamps.
        timestamp_begin: The first timestamp; ids below it are of text.
        length_s: Of the clip.
        text_of: Spells tokens.
    """
    found: list[Segment] = []
    start_s, spoken = 0.0, list[int]()

    def close(end_s: float) -> None:
        if spoken:
            found.append(Segment(start_s, end_s, text_of(spoken), tuple(spoken)))
            spoken.clear()

    for token in tokens:
        if token < timestamp_begin:
            spoken.append(token)
            continue
        at_s = min(length_s, round((token - timestamp_begin) * TIMESTAMP_S, 2))
        close(at_s)
        start_s = at_s
    close(length_s)
    return tuple(found)

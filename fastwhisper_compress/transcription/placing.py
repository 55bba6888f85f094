"""From times in a window to times in the recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from fastwhisper_compress.runtime.transcript import Segment, Word
from fastwhisper_compress.transcription.windows import Window

_LONGEST_PAUSE_S = 1.0  # within a segment, as it stands in the recording


@dataclass(frozen=True)
class _Island:
    """Pieces of a window with no long pause between them: from where to where in the window."""

    start_s: float
    end_s: float

    def overlap_s(self, start_s: float, end_s: float) -> float:
        return min(end_s, self.end_s) - max(start_s, self.start_s)

    def clamp(self, seconds: float) -> float:
        return min(max(seconds, self.start_s), self.end_s)


def placed(window: Window, segments: Sequence[Segment]) -> Iterator[Segment]:
    """Say when in the recording the segments of a window were said.

    The model does not know that silence was left out, so a segment may hold speech from both sides of it. Where the times
    of its words are known, such a segment is split, and its first part keeps the tokens; else it stands where most of it
    was heard.

    Args:
        window: What the model has heard.
        segments: With times from the start of the window.
    """
    islands = _islands(window)
    for segment in segments:
        if not segment.words:
            yield _within(window, _home(islands, segment.start_s, segment.end_s), segment)
            continue
        parts = [
            (island, tuple(words))
            for island, words in groupby(segment.words, lambda word: _home(islands, word.start_s, word.end_s))
        ]
        for number, (island, words) in enumerate(parts):
            part = segment
            if len(parts) > 1:
                text = "".join(word.text for word in words)
                tokens = () if number else segment.tokens
                part = Segment(words[0].start_s, words[-1].end_s, text, tokens)
            yield _within(window, island, replace(part, words=words))


def _islands(window: Window) -> list[_Island]:
    found: list[_Island] = []
    heard_until_s = 0.0
    for piece in window.pieces:
        end_s = piece.at_s + piece.end_s - piece.start_s
        if found and piece.start_s - heard_until_s <= _LONGEST_PAUSE_S:
            found[-1] = _Island(found[-1].start_s, end_s)
        else:
            found.append(_Island(piece.at_s, end_s))
        heard_until_s = piece.end_s
    return found


def _home(islands: Sequence[_Island], start_s: float, end_s: float) -> _Island:
    """Return the island that holds most; of something outside of all, or without length, the nearest."""
    return max(islands, key=lambda island: island.overlap_s(start_s, end_s))


def _within(window: Window, island: _Island, segment: Segment) -> Segment:
    start_s, end_s = _times(window, island, segment.start_s, segment.end_s)
    return replace(
        segment, start_s=start_s, end_s=end_s, words=tuple(_word(window, island, word) for word in segment.words)
    )


def _word(window: Window, island: _Island, word: Word) -> Word:
    start_s, end_s = _times(window, island, word.start_s, word.end_s)
    return replace(word, start_s=start_s, end_s=end_s)


def _times(window: Window, island: _Island, start_s: float, end_s: float) -> tuple[float, float]:
    end = window.time(island.clamp(end_s), end=True)
    return min(window.time(island.clamp(start_s)), end), end  # on the seam of two pieces, what has no length ends first

"""Subtitles: what stands on the screen, and when."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastwhisper_compress.harmless import harmless
from fastwhisper_compress.runtime.transcript import Segment


@dataclass(frozen=True)
class Screen:
    """What a viewer can read at a time.

    Attributes:
        line_characters: Length of a line.
        lines: How many at once. Without times of words a segment stays whole, on as many as it takes.
    """

    line_characters: int = 42
    lines: int = 2


@dataclass(frozen=True)
class Cue:
    """Lines of text from one millisecond to another, never empty."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def cues(segments: Iterable[Segment], screen: Screen) -> Iterator[Cue]:
    """Make subtitles of segments: none begins before the one before it has ended, and each lasts a millisecond at least.

    Args:
        segments: In order.
        screen: What fits; longer segments are broken between words, where their times are known.
    """
    earliest_ms = 0
    for start_s, end_s, text in _pieces(segments, screen):
        start_ms = max(round(1000 * start_s), earliest_ms)
        end_ms = max(round(1000 * end_s), start_ms + 1)
        earliest_ms = end_ms
        yield Cue(start_ms, end_ms, tuple(_wrapped(text, screen)))


def _pieces(segments: Iterable[Segment], screen: Screen) -> Iterator[tuple[float, float, str]]:
    """Break segments where they are too long for the screen: start, end and text, which is never blank."""
    for segment in segments:
        if not segment.words:
            if segment.text.strip():
                yield segment.start_s, segment.end_s, segment.text
            continue
        text, start_s, end_s = "", segment.start_s, segment.end_s
        for word in segment.words:
            if text.strip() and len(_wrapped(text + word.text, screen)) > screen.lines:
                yield start_s, end_s, text
                text, start_s = "", word.start_s
            text, end_s = text + word.text, word.end_s
        if text.strip():
            yield start_s, max(end_s, segment.end_s), text


def _wrapped(text: str, screen: Screen) -> list[str]:
    return textwrap.wrap(harmless(" ".join(text.split())), screen.line_characters, break_on_hyphens=False)

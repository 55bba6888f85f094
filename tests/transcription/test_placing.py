"""Segments of a window stand in the recording where they were said, and never across a long silence."""

from __future__ import annotations

import numpy as np
import pytest

from fastwhisper_compress.runtime.transcript import Segment, Word
from fastwhisper_compress.transcription.placing import placed
from fastwhisper_compress.transcription.windows import Piece, Window

# 4 s from 10 s on, 3 s after a short pause, 2 s after a minute.
PIECES = (Piece(0.0, 10.0, 14.0), Piece(4.0, 14.5, 17.5), Piece(7.0, 77.5, 79.5))
WINDOW = Window(np.zeros(9 * 16_000, np.float32), PIECES)


def place(*segments):
    return [(one.start_s, one.end_s, one.text) for one in placed(WINDOW, segments)]


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (0, 2, (10, 12)),
        (3, 5, (13, 15.5)),  # a short pause is part of speech
        (4, 7, (14.5, 17.5)),  # ends with its piece, not when the next begins
        (7, 9, (77.5, 79.5)),
        (5, 7.5, (15.5, 17.5)),
        (6.5, 9, (77.5, 79.5)),
        (8, 30, (78.5, 79.5)),
        (40, 50, (79.5, 79.5)),
    ],
)
def test_times(start_s, end_s, expected):
    assert place(Segment(start_s, end_s, " x", ())) == [(*expected, " x")]


def test_with_words_a_segment_is_split_at_the_silence():
    words = (Word(" one", 5, 6, 0.9, (1,)), Word(" two", 6, 7.2, 0.9, (2, 3)), Word(" three", 7.1, 8, 0.9, (4,)))
    first, second = placed(WINDOW, [Segment(5, 8, " one two three", (1, 2, 3, 4), words)])
    assert (first.start_s, first.end_s, first.text, first.tokens) == (15.5, 17.5, " one two", (1, 2, 3))
    assert [(word.start_s, word.end_s) for word in first.words] == [(15.5, 16.5), (16.5, 17.5)]
    assert (second.start_s, second.end_s, second.text, second.tokens) == (77.6, 78.5, " three", (4,))
    assert [(word.start_s, word.end_s) for word in second.words] == [(pytest.approx(77.6), 78.5)]

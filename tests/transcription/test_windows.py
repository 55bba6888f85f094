"""Windows hold all speech, in order, know where it comes from, and need little memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwhisper_compress.transcription.vad import FRAME, FRAME_S
from fastwhisper_compress.transcription.windows import Piece, Window, speech_windows

RATE = 16_000


class Marked:
    """A detector that finds the probability of speech in the samples themselves: the fraction of each."""

    def __init__(self):
        self.rest = np.zeros(0, np.float32)

    def feed(self, samples):
        heard = np.concatenate([self.rest, samples])
        count = len(heard) // FRAME
        self.rest = heard[count * FRAME :]
        return np.modf(heard[: count * FRAME : FRAME])[0]

    def finish(self):
        found = np.modf(self.rest[:1])[0]
        self.rest = np.zeros(0, np.float32)
        return found


def recording(runs):
    """Samples that say which frame they are of, and how likely speech is in it (in quarters)."""
    probabilities = np.concatenate([np.full(count, probability, np.float32) for probability, count in runs])
    return np.repeat(np.arange(len(probabilities), dtype=np.float32) + probabilities, FRAME), probabilities


def blocks_of(samples, size=RATE):
    return (samples[first : first + size] for first in range(0, len(samples), size))


def windows_of(samples, **options):
    return list(speech_windows(blocks_of(samples), detector=Marked(), **options))


RUNS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.sampled_from([1, 2, 5, 12, 40, 150, 400, 1500])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(RUNS, st.integers(0, FRAME - 1), st.sampled_from([1000, RATE, 5 * RATE]))
def test_speech_is_in_exactly_one_window_and_knows_its_time(runs, cut, size):
    samples, probabilities = recording(runs)
    samples = samples[: len(samples) - cut]
    found = list(speech_windows(blocks_of(samples, size), start_s=100.0, detector=Marked()))
    before = 0.0
    held = []
    for window in found:
        assert 0 < len(window.samples) <= 30 * RATE
        assert sum(piece.end_s - piece.start_s for piece in window.pieces) == pytest.approx(len(window.samples) / RATE)
        for piece in window.pieces:
            assert before <= piece.start_s < piece.end_s
            before = piece.end_s
            first, last = round((piece.start_s - 100) * RATE), round((piece.end_s - 100) * RATE)
            at = round(piece.at_s * RATE)
            assert np.array_equal(window.samples[at : at + last - first], samples[first:last])
            middle = piece.at_s + (piece.end_s - piece.start_s) / 2
            assert window.time(middle) == pytest.approx((piece.start_s + piece.end_s) / 2)
        held.append(window.samples[::FRAME].astype(int))
    frames = np.concatenate(held) if held else np.zeros(0, int)
    assert (np.diff(frames) > 0).all()
    loud = probabilities >= 0.5
    for start, end in np.flatnonzero(np.diff(loud, prepend=False, append=False)).reshape(-1, 2):
        if end - start >= 3:
            assert np.isin(np.arange(max(0, start - 12), min(end + 12, len(probabilities))), frames).all()


def test_a_long_silence_is_shortened_and_a_very_long_one_ends_a_window():
    speech, pause, night = (0.75, 100), (0.0, 60), (0.0, 400)
    first, second = windows_of(recording([night, speech, pause, speech, night, speech, night])[0])
    assert [len(window.pieces) for window in (first, second)] == [2, 1]
    assert first.pieces[0].end_s + 0.5 < first.pieces[1].start_s
    assert len(first.samples) / RATE == pytest.approx(2 * 3.2 + 4 * 0.4, abs=0.2)


def test_a_short_pause_is_kept_as_it_is():
    (window,) = windows_of(recording([(0.75, 100), (0.0, 20), (0.75, 100), (0.0, 100)])[0])
    assert len(window.pieces) == 1


@pytest.mark.parametrize("pause", [650, 750, 850])
def test_without_silence_it_is_cut_where_speech_is_least_likely(pause):
    probabilities = [(0.75, pause), (0.5, 10), (0.75, 900)]
    first, _ = windows_of(recording(probabilities)[0])
    assert first.end_s / FRAME_S == pytest.approx(pause + 5, abs=5)


def test_nobody_speaks():
    assert windows_of(recording([(0.0, 3000)])[0]) == []
    assert windows_of(np.zeros(0, np.float32)) == []


def test_no_more_is_read_than_needed_and_no_more_is_kept():
    samples, _ = recording([(0.75, 200_000 // FRAME)])
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield samples

    longest = 0
    for window, _ in zip(speech_windows(endless(), detector=Marked()), range(5), strict=False):
        longest = max(longest, read * len(samples) / RATE - window.end_s)
    assert longest < 30 + 12.5 + 5


def test_without_a_detector_it_is_cut_every_30_s():
    samples = np.arange(70 * RATE, dtype=np.float32)
    found = list(speech_windows(blocks_of(samples, 7000), start_s=5.0, detector=None))
    assert np.array_equal(np.concatenate([window.samples for window in found]), samples)
    assert [(window.start_s, window.end_s) for window in found] == [(5, 35), (35, 65), (65, 75)]
    assert found[1].time(3.0) == 38


def test_times_at_a_join():
    window = Window(np.zeros(5 * RATE, np.float32), (Piece(0.0, 10.0, 12.0), Piece(2.0, 20.0, 23.0)))
    assert (window.start_s, window.end_s) == (10, 23)
    assert (window.time(2.0), window.time(2.0, end=True)) == (20, 12)
    assert (window.time(1.99), window.time(2.01, end=True)) == (20, 12)
    assert (window.time(1.5), window.time(2.5, end=True)) == (11.5, 20.5)
    assert (window.time(-1.0), window.time(9.0, end=True)) == (10, 23)

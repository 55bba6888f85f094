"""A recording as windows that a Whisper model can hear: at most thirty seconds, mostly speech."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.runtime.audio import MAX_CLIP_S, SAMPLE_RATE
from fastwhisper_compress.transcription.vad import FRAME, FRAME_S, speech_spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastwhisper_compress.transcription.vad import Span, SpeechDetector

_MOST = int(MAX_CLIP_S / FRAME_S)  # frames in a window
_LEAST = _MOST // 2  # frames in a window that more speech follows
_AROUND = 8  # frames on either side of a cut, whose probabilities say how good it is
_FULLNESS = 0.1  # by how much a cut at _LEAST must be better than one at _MOST
_APART = int(10 / FRAME_S)  # frames of silence after which a new window begins, however full the last one is
_LOOKBACK = int(6 / FRAME_S)  # frames; more than a span and the silence needed to tell its end


@dataclass(frozen=True)
class Piece:
    """A part of a window.

    Attributes:
        at_s: Where in the window it begins.
        start_s: Where in the recording it begins.
        end_s: Where in the recording it ends.
    """

    at_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Window:
    """Pieces of a recording, one after another.

    Attributes:
        samples: float32 (n,), 16 kHz, at most 30 s.
        pieces: Where they come from, in order; between them silence was left out.
    """

    samples: np.ndarray
    pieces: tuple[Piece, ...]

    @property
    def start_s(self) -> float:
        """Where in the recording it begins."""
        return self.pieces[0].start_s

    @property
    def end_s(self) -> float:
        """Where in the recording it ends."""
        return self.pieces[-1].end_s

    def time(self, seconds: float, *, end: bool = False) -> float:
        """When in the recording something in the window happens.

        Args:
            seconds: From the start of the window.
            end: Whether something ends then: between two pieces, it does so in the earlier one, and begins in the later.
        """
        starts = [piece.at_s for piece in self.pieces]
        # What ends within a frame behind a join ends before it, and what begins so near begins behind it.
        found = bisect_left(starts, seconds - FRAME_S) if end else bisect_right(starts, seconds + FRAME_S)
        piece = self.pieces[max(0, found - 1)]
        return min(max(piece.start_s, piece.start_s + seconds - piece.at_s), piece.end_s)


def speech_windows(
    blocks: Iterable[np.ndarray], *, start_s: float = 0.0, detector: SpeechDetector | None
) -> Iterator[Window]:
    """Cut a recording into windows, holding no more of it than a window and a few seconds.

    A long silence is shortened to what surrounds speech; only one of ten seconds or more ends a window. Otherwise windows
    are filled, and cut where speech is least likely in their second half.

    Args:
        blocks: float32 (n,) each, 16 kHz.
        start_s: Where in the recording the first block begins.
        detector: Tells speech from silence; None keeps everything and cuts every 30 s.

    Yields:
        Windows in order; none where nobody speaks.
    """
    if detector is None:
        yield from _every_30_s(blocks, start_s)
        return
    tape = _Tape()
    kept: list[_Stretch] = []
    for span in speech_spans(tape.hear(blocks, detector)):
        if kept and span.start - kept[-1].end >= _APART:
            yield _window(kept, start_s)
            kept = []
        kept.append(tape.cut(span))
        while sum(map(len, kept)) > _MOST:
            full, kept = _split(kept, _best_cut(kept))
            yield _window(full, start_s)
    if kept:
        yield _window(kept, start_s)


@dataclass(frozen=True)
class _Stretch:
    """Frames that follow one another: where they begin, their samples, float32 (n,), and their probabilities."""

    start: int
    samples: np.ndarray
    probabilities: np.ndarray

    @property
    def end(self) -> int:
        return self.start + len(self)

    def __len__(self) -> int:
        return len(self.probabilities)

    def parted(self, frames: int) -> tuple[_Stretch, _Stretch]:
        """The first so many frames, and the others."""
        head, tail = np.split(self.samples, [frames * FRAME])
        first, others = np.split(self.probabilities, [frames])
        return _Stretch(self.start, head, first), _Stretch(self.start + frames, tail, others)


class _Tape:
    """The last seconds that were heard."""

    def __init__(self) -> None:
        self._first = 0  # frame
        self._samples = np.zeros(0, np.float32)
        self._probabilities = np.zeros(0, np.float32)

    def hear(self, blocks: Iterable[np.ndarray], detector: SpeechDetector) -> Iterator[float]:
        """Probabilities of speech, frame by frame."""
        for block in blocks:
            yield from self._note(block, detector.feed(block))
        yield from self._note(np.zeros(0, np.float32), detector.finish())

    def _note(self, samples: np.ndarray, probabilities: np.ndarray) -> list[float]:
        old = max(0, len(self._probabilities) - _LOOKBACK)
        self._first += old
        self._samples = np.concatenate([self._samples[old * FRAME :], samples])
        self._probabilities = np.concatenate([self._probabilities[old:], probabilities])
        return [float(one) for one in probabilities]

    def cut(self, span: Span) -> _Stretch:
        """A copy, so that the tape can go on."""
        start, end = span.start - self._first, span.end - self._first
        samples = self._samples[start * FRAME : end * FRAME].copy()
        return _Stretch(span.start, samples, self._probabilities[start:end].copy())


def _best_cut(kept: list[_Stretch]) -> int:
    """After how many frames to cut: where a second or less of speech is least likely, later rather than earlier."""
    probabilities = np.concatenate([one.probabilities for one in kept])
    sums = np.concatenate([[0.0], np.cumsum(probabilities, dtype=np.float64)])
    cuts = np.arange(_LEAST, _MOST + 1)
    ends = np.minimum(cuts + _AROUND, len(probabilities))
    speech = (sums[ends] - sums[cuts - _AROUND]) / (ends - cuts + _AROUND)
    scores = speech + _FULLNESS * (_MOST - cuts) / (_MOST - _LEAST)
    return int(cuts[len(cuts) - 1 - np.argmin(scores[::-1])])


def _split(kept: list[_Stretch], frames: int) -> tuple[list[_Stretch], list[_Stretch]]:
    head: list[_Stretch] = []
    for index, one in enumerate(kept):
        if frames < len(one):
            first, second = one.parted(frames)
            return head + [first] * (frames > 0), [second, *kept[index + 1 :]]
        head.append(one)
        frames -= len(one)
    return head, []


def _window(kept: list[_Stretch], start_s: float) -> Window:
    pieces: list[Piece] = []
    at = 0  # samples
    for index, one in enumerate(kept):
        first, last = one.start * FRAME, one.start * FRAME + len(one.samples)
        times = start_s + first / SAMPLE_RATE, start_s + last / SAMPLE_RATE
        if index and kept[index - 1].end == one.start:
            pieces[-1] = Piece(pieces[-1].at_s, pieces[-1].start_s, times[1])
        else:
            pieces.append(Piece(at / SAMPLE_RATE, *times))
        at += len(one.samples)
    return Window(np.concatenate([one.samples for one in kept]), tuple(pieces))


def _every_30_s(blocks: Iterable[np.ndarray], start_s: float) -> Iterator[Window]:
    most = MAX_CLIP_S * SAMPLE_RATE
    rest = np.zeros(0, np.float32)

    def window(samples: np.ndarray) -> Window:
        return Window(samples, (Piece(0.0, start_s, start_s + len(samples) / SAMPLE_RATE),))

    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= most:
            yield window(rest[:most])
            rest = rest[most:]
            start_s += MAX_CLIP_S
    if len(rest):
        yield window(rest)

"""Cut a live stream into utterances: speech with a little silence around it, handed on as it comes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.transcription.vad import FRAME, FRAME_S, SpeechDetector, SpeechRules


@dataclass(frozen=True)
class Piece:
    """Speech that has just been heard.

    Attributes:
        samples: float32 (n,), 16 kHz; follows the piece before, unless that ended its utterance.
        start_s: Where in the stream it begins.
        ends: Whether the speaker has paused, or the stream has ended: the utterance is complete.
    """

    samples: np.ndarray
    start_s: float
    ends: bool


class Utterances:
    """Tells speech from silence while a stream goes on. Holds less than a second of it."""

    def __init__(self, detector: SpeechDetector, rules: SpeechRules, *, pause_s: float) -> None:
        """Begin in silence.

        Args:
            detector: Hears every sample once.
            rules: What counts as speech.
            pause_s: How long a silence ends an utterance.
        """
        self._detector = detector
        self._rules = rules
        self._shortest = max(1, round(rules.shortest_s / FRAME_S))  # frames
        self._pause = max(1, round(pause_s / FRAME_S))
        self._before = round(rules.pad_s / FRAME_S) + self._shortest
        self._waiting = np.zeros(0, np.float32)  # not handed on: what led up to now, or its last frame's beginning
        self._judged = 0  # frames at the front of what waits
        self._start = 0  # where in the stream that begins, in samples
        self._speaking = False
        self._run = 0  # frames in a row that speak against the present state

    @property
    def held(self) -> int:
        """Samples that may yet be handed on."""
        return self._waiting.size

    def feed(self, samples: np.ndarray) -> list[Piece]:
        """Return what has been found to be speech, in order."""
        self._waiting = np.concatenate([self._waiting, samples])
        return [piece for one in self._detector.feed(samples) for piece in self._judge(float(one))] + self._going_on()

    def finish(self) -> list[Piece]:
        """Return the end of what was going on when the stream ended."""
        self._detector.finish()
        if not self._speaking:
            return []
        self._speaking = False
        return [self._hand_on(self._waiting.size, ends=True)]

    def _judge(self, probability: float) -> list[Piece]:
        """Take in the next frame of what waits."""
        self._judged += 1
        if self._speaking:
            self._run = self._run + 1 if probability < self._rules.stop else 0
            if self._run < self._pause:
                return []
            self._speaking, self._run = False, 0
            return [self._hand_on(self._judged * FRAME, ends=True)]
        self._run = self._run + 1 if probability >= self._rules.start else 0
        if self._run >= self._shortest:
            self._speaking, self._run = True, 0
        elif self._judged > self._before:
            self._drop(FRAME)
        return []

    def _going_on(self) -> list[Piece]:
        return [self._hand_on(self._judged * FRAME, ends=False)] if self._speaking and self._judged else []

    def _hand_on(self, n: int, *, ends: bool) -> Piece:
        piece = Piece(self._waiting[:n], self._start / SAMPLE_RATE, ends)
        self._drop(n)
        return piece

    def _drop(self, n: int) -> None:
        self._waiting = self._waiting[n:]
        self._start += n
        self._judged = max(0, self._judged - n // FRAME)

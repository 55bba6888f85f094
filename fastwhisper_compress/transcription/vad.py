"""Where somebody speaks: Silero's voice activity detector (https://github.com/snakers4/silero-vad), in our own session."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.runtime.session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FRAME = 512  # samples, 32 ms
FRAME_S = FRAME / 16_000
_CONTEXT = 64  # samples of the frame before that the network sees, too
_AT_ONCE = 128  # frames
_LONGEST_PART = 62  # frames, two seconds


class SpeechDetector:
    """Probability of speech, frame by frame of 32 ms. What it has heard matters to what it hears next.

    The package ``silero_vad`` lends its network only: to import it would bring torch into the process. Of the graphs in
    it, this one takes many frames in a run, and gives what the others give in a third of their time.

    Raises:
        BackendError: ``silero_vad`` or ONNX Runtime is not installed.
    """

    def __init__(self) -> None:
        self._session = open_session(_network(), "cpu", threads=1)
        self._rest: np.ndarray
        self._reset()

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Hear on.

        Args:
            samples: float32 (n,), 16 kHz, any n.

        Returns:
            float32 (frames,), of the frames that are whole now.
        """
        heard = np.concatenate([self._rest, samples])
        count = len(heard) // FRAME
        self._rest = heard[count * FRAME :]
        frames = heard[: count * FRAME].reshape(count, FRAME)
        found = [self._run(frames[first : first + _AT_ONCE]) for first in range(0, count, _AT_ONCE)]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def finish(self) -> np.ndarray:
        """The frame that was left over, filled up with silence: float32 (0,) or (1,). Then it starts afresh."""
        left = len(self._rest)
        found = self.feed(np.zeros(FRAME - left, np.float32)) if left else np.zeros(0, np.float32)
        self._reset()
        return found

    def _reset(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)

    def _run(self, frames: np.ndarray) -> np.ndarray:
        contexts = np.concatenate([self._context[None], frames[:-1, -_CONTEXT:]])
        self._context = frames[-1, -_CONTEXT:].copy()
        given = {"input": np.concatenate([contexts, frames], axis=1), "h": self._hidden, "c": self._cell}
        found, self._hidden, self._cell = self._session.run(["speech_probs", "hn", "cn"], given)
        return np.asarray(found, np.float32).reshape(-1)


def _network() -> Path:
    package = find_spec("silero_vad")
    graph = package and package.origin and Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    if not graph or not graph.is_file():
        raise BackendError(
            "telling speech from silence needs the package silero-vad, 6.2.3 or later",
            remedy="pip install 'silero-vad>=6.2.3', or do without",
        )
    return graph


@dataclass(frozen=True)
class SpeechRules:
    """What counts as speech.

    Attributes:
        start: Probability at which it begins.
        stop: Probability below which it ends.
        shortest_s: What is shorter is a click or a cough.
        pad_s: What is kept before and after, so that no word loses its edge.
    """

    start: float = 0.5
    stop: float = 0.35
    shortest_s: float = 0.09
    pad_s: float = 0.4


DEFAULT_RULES = SpeechRules()


@dataclass(frozen=True)
class Span:
    """Speech with its padding: frames ``[start, end)``."""

    start: int
    end: int


def speech_spans(probabilities: Iterable[float], rules: SpeechRules = DEFAULT_RULES) -> Iterator[Span]:
    """Find speech.

    Args:
        probabilities: Of every frame, read no further than is needed to tell.
        rules: What counts.

    Yields:
        Spans in order, which do not overlap; a long one in parts that adjoin, of two seconds or a little more.
    """
    pad, shortest = round(rules.pad_s / FRAME_S), max(1, round(rules.shortest_s / FRAME_S))
    start: int | None = None  # of the span that is not told yet, with padding
    end = 0  # of its speech, without
    begun: int | None = None  # where the present stretch of speech began
    index = -1
    for index, probability in enumerate(probabilities):
        if begun is None and probability >= rules.start:
            begun = index
        elif begun is not None and probability < rules.stop:
            begun = None
        if begun is not None and index + 1 - begun >= shortest:
            if start is not None and begun - end > 2 * pad:
                yield Span(start, end + pad)
                start = None
            start = max(0, begun - pad) if start is None else start
            end = index + 1
            if end - start >= _LONGEST_PART:
                yield Span(start, end)
                start = end
        elif start is not None and index + 1 - end > 2 * pad + shortest:
            yield Span(start, end + pad)
            start = None
    if start is not None and start <= index:
        yield Span(start, min(end + pad, index + 1))

"""Where somebody speaks: Silero's voice activity detector (https://github.com/snakers4/silero-vad), in our own session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

FRAME = 512  # samples, 32 ms
FRAME_S = FRAME / 16_000


class SpeechDetector:
    """Probability of speech, frame by frame of 32 ms. What it has heard matters to what it hears next.

    Raises:
        BackendError: The package silero_vad, which holds the network, or ONNX Runtime is not installed.
    """

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Hear on: float32 (n,), any n; float32 (frames,) of the frames that are whole now."""
        raise NotImplementedError

    def finish(self) -> np.ndarray:
        """The frame that was left over, filled up with silence: float32 (0,) or (1,). Then starts afresh."""
        raise NotImplementedError


@dataclass(frozen=True)
class SpeechRules:
    """What counts as speech.

    Attributes:
        start: Probability at which speech begins.
        stop: Probability below which it ends.
        shortest_s: What is shorter is a click or a cough.
        pad_s: What is kept before and after, so that no word loses its edge.
    """

    start: float = 0.5
    stop: float = 0.35
    shortest_s: float = 0.1
    pad_s: float = 0.3


@dataclass(frozen=True)
class Span:
    """Speech with its padding: frames ``[start, end)``."""

    start: int
    end: int


def speech_spans(probabilities: Iterable[float], rules: SpeechRules = SpeechRules()) -> Iterator[Span]:  # noqa: B008
    """Find speech, lazily: spans are in order and do not overlap; long ones come in parts that adjoin."""
    raise NotImplementedError

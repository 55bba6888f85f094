"""A recording as windows that a Whisper model can hear: at most thirty seconds, mostly speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from fastwhisper_compress.transcription.vad import SpeechDetector


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
        raise NotImplementedError


def speech_windows(
    blocks: Iterable[np.ndarray], *, start_s: float = 0.0, detector: SpeechDetector | None
) -> Iterator[Window]:
    """Cut a recording into windows, holding no more of it than a window and a second or two.

    Args:
        blocks: float32 (n,) each, 16 kHz.
        start_s: Where in the recording the first block begins.
        detector: Tells speech from silence, which is left out; None keeps everything and cuts every 30 s.

    Yields:
        Windows in order; none if nobody speaks.
    """
    raise NotImplementedError

"""Files as windows, in chapters: so that reading can be broken off and gone on with to the same effect.

What is cut where depends on all that the detector and the resampler have heard before. At the end of a chapter both
begin afresh, also when nothing interrupts: whoever goes on later opens the last chapter, not the whole recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.audio_blocks import AudioBlocks, Gap, open_audio
from fastwhisper_compress.transcription.windows import Window, speech_windows
from fastwhisper_compress.transcription.work import BEGIN, End, Place

if TYPE_CHECKING:
    import numpy as np

    from fastwhisper_compress.transcription.vad import SpeechDetector

CHAPTER_S = 1200.0  # what is read again after an interruption, at most; finding speech in it takes seconds


@dataclass(frozen=True)
class Stretch:
    """A window, and what was found out on the way to it.

    Attributes:
        window: The window.
        chapter_s: Where its chapter begins.
        gaps: What could not be decoded, found since the window before. It may lie behind the window.
    """

    window: Window
    chapter_s: float
    gaps: tuple[Gap, ...]


def read_windows(path: Path, detector: SpeechDetector | None, place: Place = BEGIN) -> Iterator[Stretch | End]:
    """Cut a file into windows.

    Args:
        path: The file.
        detector: Tells speech from silence; None cuts every 30 s. It must not be in use elsewhere meanwhile.
        place: Where to begin.

    Yields:
        Windows in order, and the end of the recording.

    Raises:
        AudioError: The file is missing, empty, or not audio.
        BackendError: It needs PyAV, which is not installed.
    """
    chapter_s, skipped = place.chapter_s, place.windows
    while True:
        if detector is not None:
            detector.finish()  # with whatever it heard before
        with open_audio(path, start_s=chapter_s) as blocks:
            chapter = Counted(blocks)
            for number, window in enumerate(speech_windows(chapter, start_s=blocks.start_s, detector=detector)):
                gaps = chapter.new_gaps()
                if number >= skipped:
                    yield Stretch(window, chapter_s, gaps)
                if window.end_s >= chapter_s + CHAPTER_S:
                    break
            else:
                yield End(chapter.end_s(), chapter.new_gaps())
                return
        chapter_s, skipped = window.end_s, 0


class Counted(Iterable["np.ndarray"]):
    """Blocks of a recording, counted as they are read."""

    def __init__(self, blocks: AudioBlocks) -> None:
        self._blocks = blocks
        self._samples = 0
        self._told: set[Gap] = set()

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self._samples += block.size
            yield block

    def new_gaps(self) -> tuple[Gap, ...]:
        """Return the gaps that were found, or found to be longer, since this was last asked."""
        found = tuple(gap for gap in self._blocks.gaps if gap not in self._told)
        self._told.update(found)
        return found

    def end_s(self) -> float:
        """Return where in the recording reading has got to: behind what was decoded, or the gap that ends it."""
        heard_s = self._blocks.start_s + self._samples / SAMPLE_RATE
        return max([heard_s, *(gap.end_s for gap in self._blocks.gaps)])

"""Files in sequential mode, one after another, each from where it was broken off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.audio_blocks import open_audio
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.transcription.reading import Counted
from fastwhisper_compress.transcription.sequential import SequentialModel, sequential_steps
from fastwhisper_compress.transcription.work import End, Event, Part, Reading

if TYPE_CHECKING:
    import numpy as np


def transcribe_in_sequence(model: SequentialModel, readings: Iterable[Reading], options: Options) -> Iterator[Event]:
    """Transcribe files in sequential mode.

    Args:
        model: The loaded artifact.
        readings: What to read. Before the place where a file was broken off it is only decoded, so that what follows is
            the same to the last bit.
        options: How to transcribe.

    Yields:
        Parts of files in order, and after those of each file its end, or the error that kept it from being read.

    Raises:
        OutOfMemoryError: There is not enough memory for one window.
        UsageError: The model does not know the language or task.
    """
    for reading in readings:
        try:
            for what in _heard(model, reading, options):
                yield reading, what
        except (AudioError, BackendError) as error:
            error.place = error.place or str(reading.file)
            yield reading, error


def _heard(model: SequentialModel, reading: Reading, options: Options) -> Iterator[Part | End]:
    if reading.end is not None:
        yield reading.end
        return
    passed = 0
    if reading.last is not None:
        passed = round(reading.last.end_s * SAMPLE_RATE)
        options = replace(options, language=reading.last.language, previous=reading.last.context)
    with open_audio(reading.file) as blocks:
        counted = Counted(blocks)
        for step in sequential_steps(model, _behind(counted, passed), options, passed=passed):
            end_s = step.passed / SAMPLE_RATE
            yield Part(0.0, end_s, step.language, None, step.segments, counted.new_gaps(), step.context)
        yield End(counted.end_s(), counted.new_gaps())


def _behind(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Leave out so many samples."""
    for block in blocks:
        if samples < block.size:
            yield block[samples:]
        samples = max(0, samples - block.size)

"""Recordings of any length in the measuring process: the packed long form, and what it heard when.

Imported there only when a suite holds a recording, as everything that takes memory is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import AudioError
from fastwhisper_compress.runtime.audio_blocks import AudioBlocks, open_audio
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.transcription.packed import transcribe_windows
from fastwhisper_compress.transcription.vad import SpeechDetector
from fastwhisper_compress.transcription.windows import Window, speech_windows

if TYPE_CHECKING:
    import numpy as np

    from fastwhisper_compress.runtime.batching import OnShrink
    from fastwhisper_compress.runtime.transcriber import Transcriber

SAMPLE_RATE_HZ = 16_000


def hear_recordings(
    model: Transcriber, utterances: Sequence[Mapping[str, str]], *, batch_size: int, on_shrink: OnShrink
) -> Iterator[dict[str, Any]]:
    """Transcribe recordings one after another.

    Words are timed where the model's alignment heads are known. Voice activity detection is part of the time, decoding
    the file is not.

    Args:
        model: The loaded artifact.
        utterances: ``id``, ``audio`` and ``language`` of each.
        batch_size: How many windows to transcribe together.
        on_shrink: Told when memory ran out and with how many windows it goes on.

    Yields:
        A row for each; one with an error for audio that cannot be decoded.
    """
    for one in utterances:
        try:
            with open_audio(Path(one["audio"])) as audio:
                yield _hear(model, one, audio, batch_size, on_shrink)
        except AudioError as error:
            yield _row(one["id"]) | {"error": error.message}


class _Reading:
    """Blocks on their way, with the time that reading them took."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks = iter(blocks)
        self.seconds = 0.0
        self.n_samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        start = time.perf_counter()
        try:
            block = next(self._blocks)
        finally:
            self.seconds += time.perf_counter() - start
        self.n_samples += len(block)
        return block


def _hear(
    model: Transcriber, one: Mapping[str, str], audio: AudioBlocks, batch_size: int, on_shrink: OnShrink
) -> dict[str, Any]:
    reading = _Reading(audio)
    cut: list[list[tuple[float, float]]] = []

    def windows() -> Iterator[Window]:
        for window in speech_windows(reading, detector=SpeechDetector()):
            cut.append([(piece.start_s, piece.end_s) for piece in window.pieces])
            yield window

    options = Options(language=one["language"], words=bool(model.manifest.decoding.alignment_heads))
    start = time.perf_counter()
    segments = list(transcribe_windows(model, windows(), options, batch_size, on_shrink=on_shrink))
    wall_s = time.perf_counter() - start - reading.seconds
    words = [word for segment in segments for word in segment.words]
    return _row(one["id"]) | {
        "text": "".join(segment.text for segment in segments).strip(),
        "tokens": [int(token) for segment in segments for token in segment.tokens],
        "audio_s": reading.n_samples / SAMPLE_RATE_HZ,
        "wall_s": wall_s,
        "timeline": {
            "windows": cut,
            "segments": [_timed(segment.start_s, segment.end_s, segment.text) for segment in segments],
            "words": [_timed(word.start_s, word.end_s, word.text) for word in words],
            "gaps": [_timed(gap.start_s, gap.end_s, gap.reason) for gap in audio.gaps],
        },
    }


def _timed(start_s: float, end_s: float, text: str) -> dict[str, Any]:
    return {"start_s": round(start_s, 3), "end_s": round(end_s, 3), "text": text}


def _row(name: str) -> dict[str, Any]:
    """Return a row of which nothing was heard."""
    return {
        "id": name,
        "text": "",
        "tokens": [],
        "looped": False,
        "redone": False,
        "audio_s": 0.0,
        "wall_s": 0.0,
        "error": None,
        "timeline": None,
    }

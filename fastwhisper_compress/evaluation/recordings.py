"""Recordings of any length in the measuring process: the packed long form, and what it heard when.

Imported there only when a suite holds a recording, as everything that takes memory is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import AudioError, FastWhisperError, ResourceError
from fastwhisper_compress.evaluation.intact import check_intact
from fastwhisper_compress.evaluation.runner import failed_row
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.transcription.packed import transcribe_packed
from fastwhisper_compress.transcription.reading import Stretch, read_windows
from fastwhisper_compress.transcription.recording import Recording, joined
from fastwhisper_compress.transcription.vad import SpeechDetector
from fastwhisper_compress.transcription.work import End, Reading

if TYPE_CHECKING:
    from fastwhisper_compress.runtime.audio_blocks import Gap
    from fastwhisper_compress.runtime.batching import OnShrink
    from fastwhisper_compress.runtime.transcript import Segment
    from fastwhisper_compress.transcription.fallback import Listener


def hear_recordings(
    model: Listener,
    utterances: Sequence[Mapping[str, Any]],
    *,
    words: bool,
    batch_size: int,
    on_shrink: OnShrink,
    warm_up: bool,
) -> Iterator[dict[str, Any]]:
    """Transcribe recordings one after another.

    Their time is that from file to text: reading and finding speech are part of it.

    Args:
        model: The loaded artifact.
        utterances: ``id``, ``audio``, ``sha256`` and ``language`` of each.
        words: Whether to time words.
        batch_size: How many windows to transcribe together.
        on_shrink: Told when memory ran out and with how many windows it goes on.
        warm_up: Whether to transcribe the first window once before, untimed.

    Yields:
        A row for each; one with an error for audio that cannot be decoded.

    Raises:
        ResourceError: A file cannot be read, is no longer what it was, or was read differently the second time.
    """
    detector = SpeechDetector()
    for one in utterances:
        options = Options(language=one["language"], words=words)
        file = Path(one["audio"])
        check_intact(file, one["sha256"])  # a gap is damage in the file then, and not a disk that fails
        try:
            if warm_up:
                _warm_up(model, file, options, detector)
                warm_up = False
            start = time.perf_counter()
            heard = _hear(model, file, options, batch_size, detector, on_shrink)
            wall_s = time.perf_counter() - start
            windows, gaps = _windows(file, detector)
            if gaps != heard.gaps:
                raise ResourceError("was not read twice alike", place=str(file), remedy="check the disk, and run again")
            yield _row(one["id"], heard, wall_s, windows)
        except AudioError as error:
            check_intact(file, one["sha256"])
            yield failed_row(one["id"], error.message)


def _hear(
    model: Listener, file: Path, options: Options, batch_size: int, detector: SpeechDetector, on_shrink: OnShrink
) -> Recording:
    segments: list[Segment] = []
    gaps: list[Gap] = []
    duration_s = 0.0
    events = transcribe_packed(model, [Reading(file, 0)], options, batch_size, detector=detector, on_shrink=on_shrink)
    for _, what in events:
        if isinstance(what, FastWhisperError):
            raise what
        gaps += what.gaps
        if isinstance(what, End):
            duration_s = what.duration_s
        else:
            segments += what.segments
    return Recording(str(file), options.language, duration_s, tuple(segments), joined(gaps))


def _warm_up(model: Listener, file: Path, options: Options, detector: SpeechDetector) -> None:
    for found in read_windows(file, detector):
        if isinstance(found, Stretch):
            model.transcribe_batch([found.window.samples], options)
        break
    detector.finish()


def _windows(file: Path, detector: SpeechDetector) -> tuple[list[list[tuple[float, float]]], tuple[Gap, ...]]:
    """Find the pieces of every window, and the gaps, once more.

    They depend on the file alone, and packed form keeps the pieces to itself.
    """
    found = list(read_windows(file, detector))
    windows = [one.window for one in found if isinstance(one, Stretch)]
    pieces = [[(piece.start_s, piece.end_s) for piece in window.pieces] for window in windows]
    return pieces, joined(gap for one in found for gap in one.gaps)


def _row(name: str, heard: Recording, wall_s: float, windows: list[list[tuple[float, float]]]) -> dict[str, Any]:
    words = [word for segment in heard.segments for word in segment.words]
    return {
        "id": name,
        "text": heard.text,
        "tokens": [int(token) for segment in heard.segments for token in segment.tokens],
        "looped": False,  # of single windows, and told by their text
        "redone": False,
        "audio_s": heard.duration_s,
        "wall_s": wall_s,
        "error": None,
        "timeline": {
            "windows": windows,
            "segments": [_timed(segment.start_s, segment.end_s, segment.text) for segment in heard.segments],
            "words": [_timed(word.start_s, word.end_s, word.text) for word in words],
            "gaps": [_timed(gap.start_s, gap.end_s, gap.reason) for gap in heard.gaps],
        },
    }


def _timed(start_s: float, end_s: float, text: str) -> dict[str, Any]:
    return {"start_s": round(start_s, 3), "end_s": round(end_s, 3), "text": text}

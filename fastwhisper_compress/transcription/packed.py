"""Recordings in packed form: windows of speech, of one file after another, many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import AudioError, BackendError, FastWhisperError
from fastwhisper_compress.runtime.audio_blocks import Gap
from fastwhisper_compress.runtime.batching import Clip, OnShrink, transcribe_all
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcript import Segment, Transcript
from fastwhisper_compress.runtime.word_pieces import UNSPACED_LANGUAGES, written_language
from fastwhisper_compress.transcription.fallback import Listener, heard_again, heard_to_the_end
from fastwhisper_compress.transcription.placing import placed
from fastwhisper_compress.transcription.reading import Stretch, read_windows
from fastwhisper_compress.transcription.work import End, Event, Part, Reading

if TYPE_CHECKING:
    from fastwhisper_compress.transcription.vad import SpeechDetector

Waiting = tuple[Reading, Stretch | End | FastWhisperError]


def transcribe_packed(
    model: Listener,
    readings: Iterable[Reading],
    options: Options,
    batch_size: int,
    *,
    detector: SpeechDetector | None,
    on_shrink: OnShrink,
) -> Iterator[Event]:
    """Transcribe files, window by window.

    Windows of several files may be heard together. A window whose transcript is degenerate is heard again, alone, at
    rising temperatures. One that the model refuses is a gap.

    Args:
        model: The loaded artifact.
        readings: What to read; what was read to its end is handed on.
        options: How to transcribe. A language that is not given is detected in the first window of each file.
        batch_size: How many windows at a time, at most.
        detector: Tells speech from silence, which is left out; None keeps everything.
        on_shrink: Told of every halving of batches.

    Yields:
        Parts of files in order, and after those of each file its end, or the error that kept it from being read.

    Raises:
        OutOfMemoryError: There is not enough memory for one window.
        UsageError: The model does not know the language or task.
    """
    waiting: deque[Waiting] = deque()
    clips = _clips(model, readings, options, detector, waiting)
    for heard in transcribe_all(model, clips, batch_size, on_shrink=on_shrink):
        # In order, so that the first stretch that waits is the one that was heard.
        for reading, what in _taken(waiting):
            if not isinstance(what, Stretch):
                yield reading, what
                continue
            if isinstance(heard, FastWhisperError):
                yield reading, _unheard(what, heard)
            else:
                yield reading, _part(what, heard.clip, _heard_well(model, heard.clip, heard.transcript))
            break
    for reading, what in _taken(waiting):
        if not isinstance(what, Stretch):
            yield reading, what


def _taken(waiting: deque[Waiting]) -> Iterator[Waiting]:
    while waiting:
        yield waiting.popleft()


def _clips(
    model: Listener,
    readings: Iterable[Reading],
    options: Options,
    detector: SpeechDetector | None,
    waiting: deque[Waiting],
) -> Iterator[Clip]:
    """Read files, and note on the way all that is found in them."""
    for reading in readings:
        try:
            for found, language in _with_language(model, reading, options, detector):
                waiting.append((reading, found))
                if isinstance(found, Stretch):
                    yield Clip(found.window.samples, replace(options, language=language))
        except (AudioError, BackendError) as error:
            error.place = error.place or str(reading.file)
            waiting.append((reading, error))


def _with_language(
    model: Listener, reading: Reading, options: Options, detector: SpeechDetector | None
) -> Iterator[tuple[Stretch | End, str | None]]:
    """Read a file, and say what language to expect: that of the first window, unless one was given.

    Where there is but one window, None: the model then finds the language on the way, at hardly any cost.
    """
    if reading.end is not None:
        yield reading.end, None
        return
    language = options.language or (None if reading.last is None else reading.last.language)
    first: Stretch | None = None
    for found in read_windows(reading.file, detector, reading.place):
        if isinstance(found, Stretch) and language is None:
            if first is None:
                first = found
                continue
            probabilities = model.detect_language(first.window.samples)
            language = max(probabilities, key=probabilities.__getitem__)
        if first is not None:
            yield first, language
            first = None
        yield found, language


def _heard_well(model: Listener, clip: Clip, first: Transcript) -> Transcript:
    return heard_to_the_end(model, clip, heard_again(model, clip, first))


def _unheard(stretch: Stretch, why: FastWhisperError) -> Part:
    window = stretch.window
    gap = Gap(window.start_s, window.end_s, why.message)
    return Part(stretch.chapter_s, window.end_s, None, None, (), (*stretch.gaps, gap))


def _part(stretch: Stretch, clip: Clip, heard: Transcript) -> Part:
    window = stretch.window
    if clip.options.timestamps or clip.options.words:
        segments = tuple(placed(window, heard.segments))
    elif heard.text:
        written = written_language(heard.language, clip.options.task)
        text = heard.text if written in UNSPACED_LANGUAGES else f" {heard.text}"
        segments = (Segment(window.start_s, window.end_s, text, heard.tokens),)
    else:
        segments = ()
    expected = clip.options.language
    return Part(stretch.chapter_s, window.end_s, heard.language, expected, segments, stretch.gaps)

"""A recording window by window, each where the one before has ended: openai-whisper's ``transcribe()`` (Radford et al. 2022).

The model is given 30 s, and says by its timestamps how far it has understood them: there the next window begins. What it
wrote is its context for the next. Where a text repeats itself or is improbable, it is sampled again at a higher
temperature; where moreover nobody seems to speak, the window is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.runtime.audio import MAX_CLIP_S, SAMPLE_RATE
from fastwhisper_compress.runtime.options import DEFAULTS, Options
from fastwhisper_compress.runtime.timestamp_rules import TIMESTAMP_S
from fastwhisper_compress.runtime.transcript import (
    LEAST_MEAN_LOGPROB,
    MOST_COMPRESSION,
    Segment,
    Transcript,
    compression,
)
from fastwhisper_compress.transcription.fallback import MOST_NO_SPEECH, WARMER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastwhisper_compress.runtime.manifest import Manifest


@dataclass(frozen=True)
class Step:
    """What was heard in a window.

    Attributes:
        passed: Samples of the recording up to where the next window begins.
        language: What is spoken.
        segments: With times of the recording.
        context: Tokens that the next window sees as its past.
    """

    passed: int
    language: str
    segments: tuple[Segment, ...]
    context: tuple[int, ...]


TEMPERATURES = (0.0, *WARMER)
_WARM = 0.5  # a text of a higher temperature is no context to rely on
_FRAME = SAMPLE_RATE // 100  # samples; less than that is no audio
_WINDOW = MAX_CLIP_S * SAMPLE_RATE


class SequentialModel(Protocol):
    """What sequential mode needs of a transcriber."""

    manifest: Manifest

    def transcribe(self, samples: np.ndarray, options: Options) -> Transcript:
        """Transcribe a clip, float32 (n,) at 16 kHz."""


def transcribe_sequentially(
    model: SequentialModel,
    blocks: Iterable[np.ndarray],
    options: Options = DEFAULTS,
    *,
    start_s: float = 0.0,
    temperatures: Sequence[float] = TEMPERATURES,
    condition_on_previous: bool = True,
) -> Iterator[Segment]:
    """Yield the segments of :func:`sequential_steps`, as soon as their window is done.

    Args:
        model: The loaded artifact.
        blocks: The recording in order.
        options: How to transcribe.
        start_s: Where in the recording the blocks begin.
        temperatures: What is tried in turn.
        condition_on_previous: Whether a window sees the text before it.
    """
    passed = round(start_s * SAMPLE_RATE)
    steps = sequential_steps(
        model, blocks, options, passed=passed, temperatures=temperatures, condition_on_previous=condition_on_previous
    )
    for step in steps:
        yield from step.segments


def sequential_steps(
    model: SequentialModel,
    blocks: Iterable[np.ndarray],
    options: Options = DEFAULTS,
    *,
    passed: int = 0,
    temperatures: Sequence[float] = TEMPERATURES,
    condition_on_previous: bool = True,
) -> Iterator[Step]:
    """Transcribe a recording of any length; of its audio at most 30 s and a block are in memory.

    Args:
        model: The loaded artifact.
        blocks: The recording in order, float32 (n,) at 16 kHz, read as it is needed.
        options: ``timestamps`` and ``no_speech`` are always on, ``temperature`` comes of ``temperatures``. Where no language
            is named, that of the first window is kept. ``previous`` is the context of the first window.
        passed: Samples of the recording before the blocks.
        temperatures: What is tried in turn until a text is neither repetitive nor improbable; the last is taken as it is.
        condition_on_previous: Whether a window sees the text before it.

    Yields:
        Windows as soon as they are done, those without speech as well. Whoever goes on behind one gives its context as
        ``previous``, its language and what it has passed.

    Raises:
        UsageError: A prefix was given, or the model cannot do what the options ask for.
        AudioError: A block is no audio.
        OutOfMemoryError: There was not enough memory.
    """
    if options.prefix:
        raise UsageError(
            "a recording of many windows has no prefix",
            place="prefix",
            remedy="give what was said before as previous, or transcribe a clip",
        )
    begin = model.manifest.decoding.timestamp_begin
    most_context = model.manifest.decoding.max_length
    options = replace(options, timestamps=True, no_speech=True)
    audio = _Ahead(blocks, passed)
    while (window := audio.window()).size >= _FRAME:
        at_s, length_s = audio.passed / SAMPLE_RATE, window.size / SAMPLE_RATE
        found = _heard(model, window, options, temperatures)
        options = replace(options, language=found.language)
        if _is_silent(found):
            audio.skip(window.size)
            yield Step(audio.passed, found.language, (), options.previous)
            continue
        pieces, resume_s = _pieces(found.tokens, begin, length_s)
        audio.skip(window.size if resume_s is None else min(window.size, round(resume_s * SAMPLE_RATE)))
        context = list(options.previous)
        texts = iter(found.segments)
        segments: list[Segment] = []
        for start, end, tokens in pieces:
            spoken = next(texts, None) if any(token < begin for token in tokens) else None
            if spoken is not None and start < end and spoken.text.strip():
                context += tokens
                segments.append(_placed(spoken, at_s, min(start, length_s), min(end, length_s)))
        forget = not condition_on_previous or found.temperature > _WARM
        options = replace(options, previous=() if forget else tuple(context[-most_context:]))
        yield Step(audio.passed, found.language, tuple(segments), options.previous)


class _Ahead:
    """The audio from the present place on, read no further than a window.

    Attributes:
        passed: How many samples lie behind.
    """

    def __init__(self, blocks: Iterable[np.ndarray], passed: int) -> None:
        self.passed = passed
        self._blocks = iter(blocks)
        self._held = np.zeros(0, np.float32)

    def window(self) -> np.ndarray:
        """Return the next 30 s, or what is left."""
        held, size = [self._held], self._held.size
        while size < _WINDOW and (block := next(self._blocks, None)) is not None:
            held.append(block)
            size += block.size
        self._held = np.concatenate(held)
        return self._held[:_WINDOW]

    def skip(self, samples: int) -> None:
        """Go on by so many."""
        self._held = self._held[samples:].copy()  # a view would keep all
        self.passed += samples


def _heard(model: SequentialModel, window: np.ndarray, options: Options, temperatures: Sequence[float]) -> Transcript:
    """Return the first transcript that is good or silent, or the last."""
    for temperature in temperatures:
        found = model.transcribe(window, replace(options, temperature=temperature))
        repetitive = found.looped or compression(found.text) > MOST_COMPRESSION
        if _is_silent(found) or not (repetitive or found.mean_logprob < LEAST_MEAN_LOGPROB):
            break
        options = replace(options, language=found.language)
    return found


def _is_silent(found: Transcript) -> bool:
    silent = found.no_speech_prob is not None and found.no_speech_prob > MOST_NO_SPEECH
    return silent and found.mean_logprob <= LEAST_MEAN_LOGPROB


def _pieces(
    tokens: tuple[int, ...], begin: int, length_s: float
) -> tuple[list[tuple[float, float, tuple[int, ...]]], float | None]:
    """Cut a window's tokens where two timestamps meet.

    Args:
        tokens: Of text and timestamps.
        begin: The first timestamp.
        length_s: Of the window.

    Returns:
        Start and end in seconds and the tokens of each piece; and where the next window is to begin, or None if this one
        was understood to its end. Behind the last two that meet, a text without an end is left for the next window.
    """

    def seconds(token: int) -> float:
        return round((token - begin) * TIMESTAMP_S, 2)

    cuts = [place for place in range(1, len(tokens)) if min(tokens[place - 1 : place + 1]) >= begin]
    if not cuts:
        times = [token for token in tokens if token >= begin]
        end_s = seconds(times[-1]) if times and times[-1] != begin else length_s
        return [(0.0, end_s, tokens)], None
    ended = tokens[-1] >= begin > tokens[-2]
    places = [0, *cuts, *([len(tokens)] if ended else [])]
    pieces = [tokens[start:end] for start, end in pairwise(places)]
    found = [(seconds(piece[0]), seconds(piece[-1]), piece) for piece in pieces]
    return found, None if ended else seconds(tokens[places[-1] - 1])


def _placed(segment: Segment, by_s: float, start_s: float, end_s: float) -> Segment:
    """Return a segment of a window with these times, in seconds of the recording; its words move with it."""
    words = tuple(
        replace(word, start_s=round(by_s + word.start_s, 2), end_s=round(by_s + word.end_s, 2))
        for word in segment.words
    )
    return replace(segment, start_s=round(by_s + start_s, 2), end_s=round(by_s + end_s, 2), words=words)

"""Clips whose transcript went wrong are heard again, less and less greedily, as openai-whisper does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.batching import Clip, Model
from fastwhisper_compress.runtime.transcript import (
    LEAST_MEAN_LOGPROB,
    MOST_COMPRESSION,
    Segment,
    Transcript,
    Word,
    compression,
)

if TYPE_CHECKING:
    import numpy as np

    from fastwhisper_compress.runtime.options import Options

WARMER = (0.2, 0.4, 0.6, 0.8, 1.0)  # temperatures to try when greedy decoding went wrong
_LEAST_UNHEARD_S = 1.0  # a window ends with a little silence
MOST_NO_SPEECH = 0.6  # with an improbable text: nobody speaks


class Listener(Model[Transcript], Protocol):
    """What is needed of a transcriber."""

    def transcribe(self, samples: np.ndarray, options: Options) -> Transcript:
        """Transcribe a clip, float32 (n,) at 16 kHz."""

    def detect_language(self, samples: np.ndarray) -> dict[str, float]:
        """Return the probability of each language by its code."""


def heard_again(model: Listener, clip: Clip, first: Transcript) -> Transcript:
    """Return the transcript of a clip, or a better one if it is degenerate.

    A text that is only short for its clip gets one more chance; one that repeats itself, is improbable or does not end gets
    as many as there are temperatures. If none helps, the likeliest of those that end without repetition is taken, or what
    was heard first. Where the model hears no speech in what it found no probable text for, the text is empty: openai-whisper
    judges its last attempt so, this the one that it is about to return.

    Args:
        model: What hears.
        clip: What was heard.
        first: The first attempt, greedy.
    """
    audio_s = clip.samples.size / SAMPLE_RATE
    if not first.is_degenerate(audio_s):
        return first
    attempts, silent = [first], False
    for temperature in WARMER if _wrong(first) else WARMER[:1]:
        options = replace(clip.options, language=first.language, temperature=temperature, no_speech=True)
        found = model.transcribe(clip.samples, options)
        silent = found.no_speech_prob is not None and found.no_speech_prob > MOST_NO_SPEECH
        if silent and _improbable(first):
            return _nothing(first, found.no_speech_prob)
        if not found.is_degenerate(audio_s):
            return found
        attempts.append(found)
    sound = [one for one in attempts if one.ended and compression(one.text) <= MOST_COMPRESSION]
    best = max(sound, key=lambda one: one.mean_logprob, default=first)
    return _nothing(best, attempts[-1].no_speech_prob) if silent and _improbable(best) else best


def _nothing(found: Transcript, no_speech_prob: float | None) -> Transcript:
    return replace(found, text="", tokens=(), segments=(), words=(), no_speech_prob=no_speech_prob)


def heard_to_the_end(model: Listener, clip: Clip, found: Transcript) -> Transcript:
    """Return a transcript with timestamps, and what it leaves unheard at its end.

    A model that writes timestamps may end after the last segment that is complete, in the belief that what begins behind
    it will be shown to it again. So it is, until it says nothing more.

    Args:
        model: What hears.
        clip: What was heard.
        found: What was heard of it so far.
    """
    options = replace(clip.options, language=found.language)
    while clip.options.timestamps and found.segments:
        begin_s = found.segments[-1].end_s
        rest = clip.samples[round(begin_s * SAMPLE_RATE) :]
        if rest.size < _LEAST_UNHEARD_S * SAMPLE_RATE:
            break
        more = heard_again(model, Clip(rest, options), model.transcribe(rest, replace(options, no_speech=True)))
        if not more.segments or not more.segments[-1].end_s or (more.no_speech_prob or 0) > MOST_NO_SPEECH:
            break
        found = _continued(found, more, begin_s)
        if more.segments[-1].end_s < _LEAST_UNHEARD_S:  # it would be shown nearly the same, again and again
            break
    return found


def _continued(found: Transcript, more: Transcript, begin_s: float) -> Transcript:
    return replace(
        found,
        text=f"{found.text} {more.text}",
        tokens=found.tokens + more.tokens,
        segments=found.segments + tuple(_moved(one, begin_s) for one in more.segments),
        words=found.words + tuple(_moved_word(one, begin_s) for one in more.words),
    )


def _moved(segment: Segment, by_s: float) -> Segment:
    words = tuple(_moved_word(word, by_s) for word in segment.words)
    return replace(segment, start_s=by_s + segment.start_s, end_s=by_s + segment.end_s, words=words)


def _moved_word(word: Word, by_s: float) -> Word:
    return replace(word, start_s=by_s + word.start_s, end_s=by_s + word.end_s)


def _wrong(found: Transcript) -> bool:
    return _improbable(found) or not found.ended or compression(found.text) > MOST_COMPRESSION


def _improbable(found: Transcript) -> bool:
    return not found.mean_logprob >= LEAST_MEAN_LOGPROB  # true for NaN as well

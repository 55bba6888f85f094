"""Clips whose transcript went wrong are heard again, less and less greedily, as openai-whisper does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.batching import Clip, Model
from fastwhisper_compress.runtime.transcript import LEAST_MEAN_LOGPROB, MOST_COMPRESSION, Transcript, compression

if TYPE_CHECKING:
    import numpy as np

    from fastwhisper_compress.runtime.options import Options

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
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
    was heard first. Where the model hears no speech in what it found no probable text for, the text is empty.

    Args:
        model: What hears.
        clip: What was heard.
        first: The first attempt, greedy.
    """
    audio_s = clip.samples.size / SAMPLE_RATE
    if not first.is_degenerate(audio_s):
        return first
    attempts = [first]
    for temperature in TEMPERATURES if _wrong(first) else TEMPERATURES[:1]:
        options = replace(clip.options, language=first.language, temperature=temperature, no_speech=True)
        found = model.transcribe(clip.samples, options)
        silent = found.no_speech_prob is not None and found.no_speech_prob > MOST_NO_SPEECH
        if silent and not first.mean_logprob >= LEAST_MEAN_LOGPROB:
            return replace(first, text="", tokens=(), segments=(), words=(), no_speech_prob=found.no_speech_prob)
        if not found.is_degenerate(audio_s):
            return found
        attempts.append(found)
    sound = [one for one in attempts if one.ended and compression(one.text) <= MOST_COMPRESSION]
    return max(sound, key=lambda one: one.mean_logprob, default=first)


def _wrong(found: Transcript) -> bool:
    improbable = not found.mean_logprob >= LEAST_MEAN_LOGPROB  # true for NaN as well
    return improbable or not found.ended or compression(found.text) > MOST_COMPRESSION

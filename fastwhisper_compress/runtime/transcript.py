"""What was heard in a clip: its text, and when it was said if that was asked for."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

# Signs of a transcript gone wrong. The first two are the limits beyond which openai-whisper (transcribe.py) decodes
# again. The last is for texts that end long before the speech does: speech is 7 bytes of UTF-8 a second and more, in
# English, German and Mandarin alike, what broke off in our measurements mostly 3 and fewer.
LEAST_MEAN_LOGPROB = -1.0
MOST_COMPRESSION = 2.4  # bytes of the text by bytes of its zlib compression
_LEAST_BYTES_A_SECOND = 5.0


@dataclass(frozen=True)
class Word:
    """A word and when it was said.

    Attributes:
        text: As the tokens spell it, mostly with a leading space.
        start_s: Seconds from the start of the clip.
        end_s: Likewise.
        probability: Mean probability of its tokens.
        tokens: Joined, those of all words are the text's. Empty in what was read back from a file.
    """

    text: str
    start_s: float
    end_s: float
    probability: float
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A stretch of text and when it was said.

    Attributes:
        start_s: Seconds from the start of the clip.
        end_s: Likewise.
        text: As the tokens spell it, mostly with a leading space: joined, the segments are the text.
        tokens: Of the text alone, without timestamps.
        words: Its words, if they were asked for.
    """

    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """What was heard.

    Attributes:
        text: The words.
        tokens: Their token ids with those of timestamps, if these were asked for; without prompt and end of text.
        looped: Whether decoding was stopped because it repeated itself without end; what came after is missing.
        ended: Whether the model ended the text itself, rather than a loop or the model's length.
        mean_logprob: Mean natural logarithm of the probability of each token that was not given.
        language: The code that was given, or found.
        redone: Whether a first attempt on an elastic window was degenerate, and this is the one on the full window.
        no_speech_prob: Probability that nobody speaks; None if it was not asked for, or the model has no token for it.
        temperature: At which the tokens were chosen.
        segments: What the timestamps delimit; empty if neither timestamps nor words were asked for.
        words: All words, if they were asked for.
    """

    text: str
    tokens: tuple[int, ...]
    looped: bool
    ended: bool
    mean_logprob: float
    language: str
    redone: bool = False
    no_speech_prob: float | None = None
    temperature: float = 0.0
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] = ()

    def is_degenerate(self, audio_s: float) -> bool:
        """Say whether it bears a sign of decoding gone wrong: no end, low probability, repetition, or hardly any text.

        Args:
            audio_s: Length of the clip.
        """
        return (
            not self.ended
            or not self.mean_logprob >= LEAST_MEAN_LOGPROB  # true for NaN as well
            or compression(self.text) > MOST_COMPRESSION
            or len(self.text.encode()) < _LEAST_BYTES_A_SECOND * audio_s
        )


def compression(text: str) -> float:
    """Return how many times shorter zlib makes a text: repetition makes it large."""
    written = text.encode()
    return len(written) / len(zlib.compress(written))

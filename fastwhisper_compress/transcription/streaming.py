"""Text of a live stream, committed word by word with bounded delay and never taken back.

Local agreement (Macháček, Dabre & Bojar 2023): every second the speech heard so far is transcribed again, and the words
with which two successive transcripts begin are committed. The next transcript has to begin with them too, so that their
decoding is one prefill. Once the clip has become long its beginning is dropped at the start of a committed word, and the
text of it becomes the context of what follows. A pause commits all and empties the clip; silence is never transcribed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fastwhisper_compress.errors import FastWhisperError, UsageError
from fastwhisper_compress.runtime.audio import MAX_CLIP_S, SAMPLE_RATE
from fastwhisper_compress.runtime.options import DEFAULTS, Options
from fastwhisper_compress.runtime.transcript import Transcript, Word
from fastwhisper_compress.transcription.agreement import agreed, divided
from fastwhisper_compress.transcription.arriving import Source
from fastwhisper_compress.transcription.utterances import Utterances
from fastwhisper_compress.transcription.vad import DEFAULT_RULES, SpeechDetector, SpeechRules

_MOST_CONTEXT = 224  # tokens: the runtime takes what fits of them, which is a little less in the largest model
_MOST_PREFIX = 150  # tokens: behind the context there is room for 220, and what follows has to fit as well

_MOST_S = MAX_CLIP_S - 2  # of a clip and a step: what the detector of speech holds back has to fit too


class Model(Protocol):
    """What streaming needs of a transcriber."""

    def transcribe(self, samples: np.ndarray, options: Options = ...) -> Transcript:
        """Transcribe one clip, float32 (n,) at 16 kHz, of at most 30 s; its tokens begin with the prefix of the options."""


@dataclass(frozen=True)
class Pace:
    """When to transcribe, and how much is heard again each time.

    Attributes:
        step_s: New audio between two transcripts, at least.
        pause_s: Silence that ends an utterance.
        clip_s: A clip that is longer than this is shortened at a committed word.
        kept_s: How much of the committed part stays when it is: what is heard is understood better with its beginning.
        unsettled_s: How much stays of a clip that is much too long because no two transcripts agree, or one word of it
            would not end.

    Raises:
        UsageError: With these a clip of 30 s might be too short for the next step.
    """

    step_s: float = 1.0
    pause_s: float = 0.8
    clip_s: float = 15.0
    kept_s: float = 5.0
    unsettled_s: float = 8.0

    def __post_init__(self) -> None:
        positive = min(self.step_s, self.pause_s, self.clip_s, self.unsettled_s) > 0 and self.kept_s >= 0
        if not positive or max(self.unsettled_s, self.kept_s) > self.clip_s or self.clip_s + self.step_s > _MOST_S:
            raise UsageError(
                f"{self} cannot be kept",
                place="Pace",
                remedy=f"give positive seconds: unsettled_s and kept_s at most clip_s, clip_s + step_s at most {_MOST_S}",
            )

    @property
    def longest_s(self) -> float:
        """What a clip is shortened at even where it means to commit what is not settled: half way to what fits."""
        return (self.clip_s + MAX_CLIP_S) / 2


DEFAULT_PACE = Pace()


@dataclass(frozen=True)
class Committed:
    """News of a stream: words that are committed now, and what may yet follow them.

    Attributes:
        text: The committed words, as they are to be appended; empty if only the tail has changed.
        start_s: When in the stream they begin.
        end_s: When they end.
        words: The words with their times in the stream.
        tail: What was heard after them, which the next step may contradict.
        heard_s: How much of the stream has been heard.
        language: Code of the spoken language.
        ends: Whether the utterance is over: somebody has paused, or the stream has ended.
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...]
    tail: str
    heard_s: float
    language: str
    ends: bool


def transcribe_stream(
    model: Model,
    source: Source,
    options: Options = DEFAULTS,
    *,
    detector: SpeechDetector,
    rules: SpeechRules = DEFAULT_RULES,
    pace: Pace = DEFAULT_PACE,
) -> Iterator[Committed]:
    """Transcribe a stream while it goes on.

    When the model is slower than the stream, steps become longer: each takes all that has arrived, up to what fits the
    clip. Memory does not grow with the stream.

    Args:
        model: The loaded artifact. It must know its alignment heads: a clip is cut by the times of its words.
        source: Where the audio comes from, such as :class:`~fastwhisper_compress.transcription.arriving.Arriving`.
        options: Language and task; a language that is not given is detected anew in every utterance.
        detector: Tells speech from silence.
        rules: What counts as speech.
        pace: When to transcribe.

    Yields:
        What was committed, and what may follow, after every transcript.

    Raises:
        FastWhisperError: The stream broke, after all that was heard before has been committed; or the model lacks the
            language, the task or word times.
    """
    utterances = Utterances(detector, rules, pause_s=pace.pause_s)
    step, most = round(pace.step_s * SAMPLE_RATE), MAX_CLIP_S * SAMPLE_RATE
    context: deque[int] = deque(maxlen=_MOST_CONTEXT)
    speech: LiveText | None = None
    heard, broken = 0, None
    while True:
        try:
            samples = source.take(step, most - utterances.held - (speech.n_samples if speech else 0))
        except FastWhisperError as error:
            samples, broken = np.zeros(0, np.float32), error
        heard += samples.size
        pieces = utterances.feed(samples) if samples.size else utterances.finish()
        for piece in pieces:
            speech = speech or LiveText(model, options, pace, context, piece.start_s)
            speech.hear(piece.samples)
            if piece.ends or speech.n_new >= step // 2:  # pieces are whole frames, so hardly ever a whole step
                yield speech.update(heard / SAMPLE_RATE, ends=piece.ends)
            if piece.ends:
                speech = None
        if broken:
            raise broken
        if not samples.size:
            return


class LiveText:
    """An utterance that goes on: its audio since the last cut, the words committed of it, and those that may follow."""

    def __init__(self, model: Model, options: Options, pace: Pace, context: deque[int], start_s: float) -> None:
        """Begin with nothing heard.

        Args:
            model: Hears the clip.
            options: Language and task.
            pace: How long the clip may become.
            context: Tokens of the text before the clip; what is dropped of the clip is added.
            start_s: When in the stream it begins.
        """
        self._model, self._options, self._pace, self._context = model, options, pace, context
        self._samples = np.zeros(0, np.float32)
        self._start_s = start_s  # of the clip
        self._committed: tuple[Word, ...] = ()  # of the clip, in its seconds
        self._tail: tuple[Word, ...] = ()
        self._told_s = start_s  # end of the last word that was told of
        self.n_new = 0  # samples since the last update

    @property
    def n_samples(self) -> int:
        """Length of the clip."""
        return self._samples.size

    def hear(self, samples: np.ndarray) -> None:
        """Add float32 (n,) to the clip."""
        self._samples = np.concatenate([self._samples, samples])
        self.n_new += samples.size

    def update(self, heard_s: float, *, ends: bool) -> Committed:
        """Transcribe the clip, and commit what the last transcript and this one agree on, or all of it if it ends."""
        self.n_new = 0
        found = self._transcribe()
        self._committed, words = divided(found.words, self._committed)
        if not (found.ended or ends):  # a text that goes round in circles, or on and on, is no hypothesis
            words = ()
        n_new = len(words) if ends else agreed(self._tail, words)
        told = self._commit(words, n_new)
        if n_new and self._options.language is None:
            self._options = replace(self._options, language=found.language)
        if ends:
            self._drop(len(self._committed), self._samples.size / SAMPLE_RATE)
        elif self._samples.size > self._pace.clip_s * SAMPLE_RATE or len(self._prefix()) > _MOST_PREFIX:
            told += self._shorten()
        return Committed(
            text="".join(word.text for word in told),
            start_s=told[0].start_s if told else self._told_s,
            end_s=self._told_s,
            words=told,
            tail="".join(word.text for word in self._tail),
            heard_s=heard_s,
            language=found.language,
            ends=ends,
        )

    def _transcribe(self) -> Transcript:
        options = replace(self._options, words=True, previous=tuple(self._context), prefix=self._prefix())
        found = self._model.transcribe(self._samples, options)
        if not found.ended and self._context:  # which often is why
            self._context.clear()
            found = self._model.transcribe(self._samples, replace(options, previous=()))
        return found

    def _prefix(self) -> tuple[int, ...]:
        return tuple(token for word in self._committed for token in word.tokens)

    def _shorten(self) -> tuple[Word, ...]:
        """Cut a clip that has become long, or the text of it; returns what had to be committed for it."""
        place = self._place_to_cut()
        if place:
            self._drop(place, self._committed[place].start_s)
        length_s = self._samples.size / SAMPLE_RATE
        if length_s <= self._pace.longest_s:
            return ()
        # No two transcripts agree, or there are no words. What is far behind has been heard with all that follows it.
        edge_s = length_s - self._pace.unsettled_s
        told = self._commit(self._tail, sum(word.end_s <= edge_s for word in self._tail))
        old = sum(word.end_s <= edge_s for word in self._committed)
        rest = self._committed[old:] + self._tail
        begin_s = min(edge_s, rest[0].start_s) if rest else edge_s
        if length_s - begin_s > self._pace.longest_s:  # no word lasts so long: it has swallowed noise, and may go on to
            begin_s = edge_s
        self._drop(old, begin_s)
        return told

    def _place_to_cut(self) -> int:
        """Return how many committed words to drop: up to the last sentence that ended long enough ago, or the last word."""
        if not self._committed:
            return 0
        latest_s = self._committed[-1].end_s - self._pace.kept_s
        places = [i for i, word in enumerate(self._committed) if i and word.start_s <= latest_s]
        sentences = [i for i in places if self._committed[i - 1].text.endswith((".", "?", "!"))]
        return (sentences or places or [0])[-1]

    def _commit(self, words: tuple[Word, ...], n: int) -> tuple[Word, ...]:
        """Commit the first of some words, the others are the tail; returns them with their times in the stream.

        None begins before the one before has ended.
        """
        self._committed, self._tail = self._committed + words[:n], words[n:]
        told = []
        for word in words[:n]:
            start_s = max(self._told_s, self._start_s + word.start_s)
            self._told_s = max(start_s, self._start_s + word.end_s)
            told.append(replace(word, start_s=start_s, end_s=self._told_s))
        return tuple(told)

    def _drop(self, n_words: int, seconds: float) -> None:
        """Drop the beginning of the clip with its words, which become context."""
        self._context.extend(token for word in self._committed[:n_words] for token in word.tokens)
        dropped = round(seconds * SAMPLE_RATE)
        self._samples = self._samples[dropped:].copy()  # a view would keep all of it
        seconds = dropped / SAMPLE_RATE
        self._start_s += seconds
        self._committed = tuple(_earlier(word, seconds) for word in self._committed[n_words:])
        self._tail = tuple(_earlier(word, seconds) for word in self._tail)


def _earlier(word: Word, seconds: float) -> Word:
    return replace(word, start_s=max(0.0, word.start_s - seconds), end_s=word.end_s - seconds)

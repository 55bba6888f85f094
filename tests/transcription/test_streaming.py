"""Streaming over a fake model that hears spoken numbers, all but the newest of them right."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwhisper_compress.errors import AudioError, UsageError
from fastwhisper_compress.runtime.hypothesis import Text
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcript import Transcript, Word
from fastwhisper_compress.transcription.streaming import Pace, transcribe_stream
from fastwhisper_compress.transcription.vad import FRAME, SpeechRules

RATE = 16_000
UNSURE = 1_000_000  # tokens from here on are of words that were misheard
RULES, PACE = SpeechRules(), Pace()
EOT = 9
DECODING = SimpleNamespace(eot=EOT)


@dataclass
class Speech:
    """A stream in which every sample tells its place, negative where nobody speaks."""

    samples: np.ndarray
    words: list[tuple[float, float]]  # seconds


def spoken(gaps: list[float], *, word_s: float = 0.3) -> Speech:
    """Say a word after each gap."""
    words, now = [], 0.0
    for gap in gaps:
        words.append((now + gap, now + gap + word_s))
        now += gap + word_s
    samples = -np.arange(1, round((now + 2) * RATE) + 1, dtype=np.float32)
    for start, end in words:
        samples[round(start * RATE) : round(end * RATE)] *= -1
    return Speech(samples, words)


class Detector:
    """Speech is what is positive."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples):
        rest = np.concatenate([self._rest, samples])
        whole = rest.size // FRAME * FRAME
        self._rest = rest[whole:]
        return (rest[:whole].reshape(-1, FRAME) > 0).any(axis=1).astype(np.float32)

    def finish(self):
        self._rest = np.zeros(0, np.float32)
        return np.zeros(0, np.float32)


@dataclass
class Model:
    """Hears what was said in a clip: a token a word. What ends in the last ``edge_s`` it mishears, each time otherwise."""

    speech: Speech
    edge_s: float = 0.5
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    heard: list[tuple[int, Options]] = field(default_factory=list)

    def transcribe(self, samples, options):
        self.heard.append((samples.size, options))
        assert np.array_equal(np.diff(np.abs(samples)), np.ones(samples.size - 1)), "the clip has a hole"
        start_s, n = (abs(float(samples[0])) - 1) / RATE, samples.size / RATE
        tokens, times = list(options.prefix), [self.speech.words[token] for token in options.prefix]
        first = tokens[-1] + 1 if tokens else 0
        for i, (start, end) in enumerate(self.speech.words[first:], first):
            if start >= start_s - 0.01 and end <= start_s + n:
                sure = end <= start_s + n - self.edge_s
                tokens.append(i if sure else UNSURE + self.chance.randrange(UNSURE))
                times.append((start, end))
        words = tuple(
            Word(f" {token}", start - start_s, end - start_s, 1.0, (token,))
            for token, (start, end) in zip(tokens, times, strict=True)
        )
        text = "".join(word.text for word in words)
        return Transcript(text, tuple(tokens), looped=False, ended=True, mean_logprob=0.0, language="en", words=words)


class Given:
    """A stream of which so many seconds have arrived each time somebody looks."""

    def __init__(self, samples, arriving=(1.0,), error=None) -> None:
        self._samples, self._arriving, self._error, self._looked = samples, arriving, error, 0

    def take(self, least, most):
        if self._error and not self._samples.size:
            raise self._error
        arrived = max(least, round(self._arriving[self._looked % len(self._arriving)] * RATE))
        self._looked += 1
        n = min(arrived, most)
        assert n > 0
        taken, self._samples = self._samples[:n], self._samples[n:]
        return taken


def stream(speech, model, source=None):
    return list(transcribe_stream(model, source or Given(speech.samples), detector=Detector(), rules=RULES, pace=PACE))


def check(speech, model, found):
    """All words, in order, each once, with their times."""
    words = [word for one in found for word in one.words]
    assert "".join(one.text for one in found) == "".join(f" {i}" for i in range(len(speech.words)))
    assert [(word.start_s, word.end_s) for word in words] == [pytest.approx(times, abs=0.01) for times in speech.words]
    assert max(size for size, _ in model.heard) <= 30 * RATE
    assert all(token < UNSURE for _, options in model.heard for token in options.previous + options.prefix)


gaps = st.lists(st.sampled_from([0.1, 0.2, 0.4, 0.7, 1.5, 6.0]), min_size=1, max_size=120)


@settings(max_examples=40, deadline=None)
@given(gaps=gaps, arriving=st.lists(st.sampled_from([0.3, 1.0, 1.7, 9.0, 40.0]), min_size=1, max_size=5))
def test_every_word_is_committed_once_and_in_order(gaps, arriving):
    speech = spoken(gaps)
    model = Model(speech)
    check(speech, model, stream(speech, model, Given(speech.samples, arriving)))


def test_speech_without_a_pause_keeps_the_clip_short_and_the_delay_bounded():
    speech = spoken([0.2] * 200)
    model = Model(speech)
    found = stream(speech, model)
    check(speech, model, found)
    assert max(size for size, _ in model.heard) <= (PACE.clip_s + 2 * PACE.step_s) * RATE
    delays = [one.heard_s - word.end_s for one in found for word in one.words]
    assert max(delays) <= model.edge_s + 2 * PACE.step_s + PACE.pause_s
    assert all(one.end_s <= one.heard_s for one in found)


def test_what_was_dropped_becomes_context_of_bounded_length():
    speech = spoken([0.2] * 500)
    model = Model(speech)
    stream(speech, model)
    _, last = model.heard[-1]
    assert len(last.previous) == 224
    assert last.previous[-1] + 1 == last.prefix[0]


def test_a_language_of_many_tokens_leaves_room_for_what_follows():
    speech = spoken([0.02] * 600, word_s=0.03)
    model = Model(speech)
    check(speech, model, stream(speech, model))
    assert max(len(options.previous) + len(options.prefix) for _, options in model.heard) < 400


def test_a_pause_commits_all_and_empties_the_clip():
    speech = spoken([0.2] * 5 + [5.0] + [0.2] * 5)
    model = Model(speech)
    found = stream(speech, model)
    check(speech, model, found)
    first = next(one for one in found if one.ends)
    assert first.tail == ""
    assert first.words[-1].text == " 4"
    assert first.heard_s < 5 * 0.5 + 5.0
    assert [size for size, options in model.heard if not options.prefix][-1] < 3 * RATE


def test_silence_is_never_transcribed():
    model = Model(Speech(np.zeros(0), []))
    samples = -np.arange(1, 120 * RATE + 1, dtype=np.float32)
    samples[30 * RATE : 30 * RATE + 600] *= -1  # a click
    assert stream(None, model, Given(samples)) == []
    assert not model.heard


def test_transcripts_that_never_agree_are_committed_when_they_are_old():
    class Stutters(Model):
        def transcribe(self, samples, options):
            found = super().transcribe(samples, options)
            odd = len(self.heard) % 2
            words = tuple(
                Word(
                    word.text if i < len(options.prefix) else f"{word.text}{'x' * odd}",
                    word.start_s,
                    word.end_s,
                    1.0,
                    word.tokens,
                )
                for i, word in enumerate(found.words)
            )
            return Transcript("", found.tokens, looped=False, ended=True, mean_logprob=0.0, language="en", words=words)

    speech = spoken([0.2] * 200)
    model = Stutters(speech)
    found = stream(speech, model)
    assert [word.tokens[0] for one in found for word in one.words] == list(range(200))
    assert max(size for size, _ in model.heard) <= 25 * RATE


def test_sound_without_words_does_not_grow():
    class Deaf(Model):
        def transcribe(self, samples, options):
            super().transcribe(samples, options)
            return Transcript("", (), looped=False, ended=True, mean_logprob=0.0, language="en")

    model = Deaf(spoken([0.2]))
    found = stream(None, model, Given(np.arange(1, 100 * RATE, dtype=np.float32)))
    assert all(not one.text for one in found)
    assert max(size for size, _ in model.heard) <= 25 * RATE


def test_a_word_that_does_not_end_is_cut_through():
    """A hum is one word from the beginning of the clip to its end, whatever was cut off before."""

    class Hums(Model):
        def transcribe(self, samples, options):
            self.heard.append((samples.size, options))
            word = Word(" mmh", 0.0, samples.size / RATE, 1.0, (1,))
            return Transcript(" mmh", (1,), looped=False, ended=True, mean_logprob=0.0, language="en", words=(word,))

    model = Hums(Speech(np.zeros(0), []))
    found = stream(None, model, Given(np.arange(1, 100 * RATE, dtype=np.float32)))
    assert found[-1].ends
    assert found[-1].heard_s == pytest.approx(100, abs=0.1)
    assert max(size for size, _ in model.heard) <= 25 * RATE
    assert all(0 <= word.start_s <= word.end_s <= one.heard_s for one in found for word in one.words)


@dataclass
class Says:
    """Scores one token after the other as a decoder would, into the text that the runtime makes of it."""

    tokens: list[int]
    rate: float = 2.0  # of them, a second

    def transcribe(self, samples, options):
        seconds = samples.size / RATE
        text = Text(DECODING, options, 448, language="en", no_speech_prob=None)
        coming = iter([*self.tokens[len(options.prefix) : round(self.rate * seconds)], EOT])
        while text.hypothesis is None:
            scores = np.full(EOT + 1, -9.0, np.float32)
            scores[next(coming)] = 0
            text.take(scores)
        found = text.finished()
        words = tuple(
            Word(f" {token}", i / self.rate, (i + 1) / self.rate, 1.0, (token,)) for i, token in enumerate(found.tokens)
        )
        return Transcript("", found.tokens, found.looped, found.ended, 0.0, "en", words=words)


@pytest.mark.parametrize("seconds", [13, 14])
def test_who_repeats_a_phrase_is_heard_each_time(seconds):
    samples = np.concatenate([np.arange(1, seconds * RATE + 1), -np.arange(seconds * RATE + 1, (seconds + 2) * RATE)])
    phrases = [1, 2, 3, 4] * 9
    found = stream(None, Says(phrases), Given(samples.astype(np.float32)))
    tokens = [token for one in found for word in one.words for token in word.tokens]
    assert found[-1].ends
    assert tokens == phrases[: len(tokens)]
    assert len(tokens) == pytest.approx(2 * seconds, abs=2)


@pytest.mark.parametrize(
    "changes", [{"step_s": 14.0}, {"clip_s": 30.0}, {"unsettled_s": 16.0}, {"step_s": 0.0}, {"kept_s": -1.0}]
)
def test_a_pace_that_leaves_no_room_is_refused(changes):
    with pytest.raises(UsageError, match="cannot be kept"):
        replace(PACE, **changes)


@pytest.mark.parametrize("pace", [Pace(step_s=13.0), Pace(step_s=0.5, clip_s=27.5), Pace(step_s=20.0, clip_s=8.0)])
def test_there_is_always_room_for_the_next_step(pace):
    speech = spoken([0.2] * 200)
    model = Model(speech)
    source = Given(speech.samples, arriving=(0.7, 3.0, 40.0))
    found = list(transcribe_stream(model, source, detector=Detector(), rules=RULES, pace=pace))
    check(speech, model, found)


def test_a_loop_commits_nothing_until_it_is_gone_and_is_tried_without_context():
    class Loops(Model):
        def transcribe(self, samples, options):
            found = super().transcribe(samples, options)
            wrong = bool(options.previous) or len(self.heard) < 6
            return replace(found, looped=wrong, ended=not wrong)

    speech = spoken([0.2] * 30 + [3.0] + [0.2] * 30)
    model = Loops(speech)
    found = stream(speech, model)
    check(speech, model, found)
    assert not any(one.text for one in found[:5])
    pairs = list(pairwise(options for _, options in model.heard))
    assert any(one.previous and other == replace(one, previous=()) for one, other in pairs)


def test_a_language_that_was_found_holds_for_the_utterance():
    speech = spoken([0.2] * 20 + [3.0] + [0.2] * 5)
    model = Model(speech)
    stream(speech, model)
    for _, options in model.heard:
        assert options.language == ("en" if options.prefix else None)
    assert model.heard[-1][1].language == "en"


def test_a_stream_that_breaks_commits_what_was_heard_and_then_says_so():
    speech = spoken([0.2] * 20)
    model = Model(speech)
    source = Given(speech.samples[: 9 * RATE], error=AudioError("gone"))
    heard = []

    def hear():
        for one in transcribe_stream(model, source, detector=Detector(), rules=RULES, pace=PACE):
            heard.extend(one.words)

    with pytest.raises(AudioError, match="gone"):
        hear()
    assert len(heard) == sum(end <= 9.0 for _, end in speech.words)


class Endless:
    """Speech without a pause, made as it is taken."""

    def __init__(self, seconds) -> None:
        self._place, self._end = 0, seconds * RATE

    def take(self, least, most):
        n = min(least, most, self._end - self._place)
        self._place += n
        return np.arange(self._place - n + 1, self._place + 1, dtype=np.float32)


def peak_bytes(seconds):
    """Memory that streaming takes at most, apart from what came before."""

    class Forgetful(Model):
        def transcribe(self, samples, options):
            self.heard.clear()
            return super().transcribe(samples, options)

    model = Forgetful(Speech(np.zeros(0), [(0.5 * i + 0.2, 0.5 * i + 0.5) for i in range(2 * seconds)]))
    tracemalloc.start()
    for _ in transcribe_stream(model, Endless(seconds), detector=Detector(), rules=RULES, pace=Pace(step_s=4.0)):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_a_long_stream_takes_no_more_memory_than_a_short_one():
    assert peak_bytes(240) < 1.05 * peak_bytes(60)

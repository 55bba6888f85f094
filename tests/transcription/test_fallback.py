"""What is heard again, and when the answer is that nobody speaks."""

from __future__ import annotations

import numpy as np
import pytest

from fastwhisper_compress.runtime.batching import Clip
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcript import Segment, Transcript
from fastwhisper_compress.transcription.fallback import WARMER, heard_again, heard_to_the_end

RATE = 16_000
SOUND = "The wind blew over the hill, and nobody was there to hear it but a goat."
LOOP = "on and on " * 30


def said(text, logprob=-0.3, *, ended=True, no_speech=None, segments=()):
    return Transcript(
        text, (1, 2), looped=not ended, ended=ended, mean_logprob=logprob, language="en", no_speech_prob=no_speech,
        segments=tuple(Segment(start, end, words, (1,)) for start, end, words in segments),
    )  # fmt: skip


class Says:
    """A model that says what it was given to say, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def transcribe(self, samples, options):
        self.asked.append((samples.size / RATE, options))
        return self.answers.pop(0)


def clip(seconds=10.0, **options):
    return Clip(np.zeros(round(seconds * RATE), np.float32), Options(**options))


def test_a_sound_text_is_not_heard_again():
    model, first = Says(), said(SOUND)
    assert heard_again(model, clip(), first) is first


@pytest.mark.parametrize("first", [said(LOOP), said(SOUND, -1.2), said(SOUND, float("nan")), said(SOUND, ended=False)])
def test_a_text_gone_wrong_is_heard_at_rising_temperatures_until_one_is_sound(first):
    model = Says(said(LOOP), said(SOUND, -2.0), said("A goat heard the wind that was blowing over the hill."))
    found = heard_again(model, clip(), first)
    assert found.text.startswith("A goat")
    assert [options.temperature for _, options in model.asked] == list(WARMER[:3])
    assert {options.language for _, options in model.asked} == {"en"}


def test_a_short_text_gets_one_more_chance():
    model, first = Says(said("Hm.")), said("Hm")
    assert heard_again(model, clip(), first).text in ("Hm", "Hm.")
    assert len(model.asked) == 1


def test_the_likeliest_that_ends_without_repetition_is_taken_where_none_is_sound():
    model = Says(*(said(f"Try {i}. {SOUND}", -1.1 - abs(i - 2)) for i in range(4)), said(LOOP, -0.1))
    assert heard_again(model, clip(), said(LOOP)).text.startswith("Try 2.")


def test_where_nobody_speaks_an_improbable_text_is_none():
    model = Says(said(SOUND, -1.5, no_speech=0.9))
    found = heard_again(model, clip(), said(SOUND, -1.5))
    assert (found.text, found.tokens, found.no_speech_prob) == ("", (), 0.9)
    assert len(model.asked) == 1


def test_a_probable_first_attempt_does_not_vouch_for_the_one_that_is_returned():
    """A loop is probable; what came after it on music was not, and the model heard nobody speak."""
    model = Says(*(said("I am on my way to the floor, and to the door.", -2.2, no_speech=0.7) for _ in WARMER))
    assert heard_again(model, clip(), said(LOOP, -0.7)).text == ""


def test_a_probable_text_stays_whatever_the_model_thinks_of_speech():
    model = Says(said(SOUND, -0.4, no_speech=0.9))
    assert heard_again(model, clip(), said(LOOP, -0.7)).text == SOUND


def test_what_is_left_behind_the_last_segment_is_heard_too_with_its_times_moved():
    first = said("one two", segments=[(0.0, 4.0, " one two")])
    model = Says(said(SOUND, segments=[(0.5, 3.0, " three"), (3.0, 5.5, " four")]))
    found = heard_to_the_end(model, clip(timestamps=True), first)
    assert [(one.start_s, one.end_s, one.text) for one in found.segments] == [
        (0.0, 4.0, " one two"), (4.5, 7.0, " three"), (7.0, 9.5, " four"),
    ]  # fmt: skip
    assert model.asked[0][0] == 6.0


@pytest.mark.parametrize("end_s", [9.3, 10.0])
def test_a_little_silence_at_the_end_is_not_heard(end_s):
    first = said(SOUND, segments=[(0.0, end_s, SOUND)])
    assert heard_to_the_end(Says(), clip(timestamps=True), first) is first


def test_without_timestamps_nothing_is_known_to_be_left():
    first = said(SOUND)
    assert heard_to_the_end(Says(), clip(), first) is first


def test_a_model_that_hardly_moves_on_is_not_asked_for_ever():
    first = said("one", segments=[(0.0, 4.0, " one")])
    model = Says(*(said(SOUND, segments=[(0.0, 0.02, " um")]) for _ in range(200)))
    found = heard_to_the_end(model, clip(timestamps=True), first)
    assert [one.text for one in found.segments] == [" one", " um"]
    assert len(model.asked) == 1


def test_silence_at_the_end_adds_nothing():
    first = said("one", segments=[(0.0, 4.0, " one")])
    model = Says(said(SOUND, no_speech=0.95, segments=[(0.0, 3.0, " Thanks for watching.")]))
    assert heard_to_the_end(model, clip(timestamps=True), first).segments == first.segments

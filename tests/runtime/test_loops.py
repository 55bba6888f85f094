"""Loops: what counts as one, what is left of it, and that decoding stops there only where it may."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan, with_decoding

from fastwhisper_compress.runtime.hypothesis import Text, repeated
from fastwhisper_compress.runtime.options import Options

PROMPT = (257, 270)
SAMPLES = speech_like(0.6)
POSITIONS = "decoder.embed_positions.weight"


def rounds_of_a_loop(period):
    """At least six rounds and at least 24 tokens."""
    return max(6, -(-24 // period))


def is_several_rounds(tokens):
    return any(tokens == tokens[:n] * (len(tokens) // n) for n in range(1, len(tokens)))


ROUNDS = st.lists(st.integers(0, 3), min_size=1, max_size=16).filter(lambda tokens: not is_several_rounds(tokens))
BEFORE = st.lists(st.integers(0, 3), max_size=30)


@pytest.mark.parametrize(
    ("once", "rounds", "surplus"),
    [
        ([7], 24, 23),
        ([7, 8], 12, 22),
        ([7, 8, 9], 8, 21),
        ([7, 8, 9, 6], 6, 20),
        ([7, 8, 9, 6, 5], 6, 25),
        ([*range(16)], 6, 80),
    ],
)
def test_a_loop_is_24_tokens_and_6_rounds(once, rounds, surplus):
    assert repeated(once * rounds) == surplus
    assert repeated([*range(100, 150), *once * rounds]) == surplus
    assert repeated(once * (rounds - 1)) == 0
    assert repeated((once * rounds)[1:]) == 0
    assert repeated([*once * rounds, 99]) == 0  # it went on
    assert repeated([*once * (rounds - 1), *once[:-1], 99]) == 0


@pytest.mark.parametrize(
    "tokens",
    [[], [7], [7] * 23, [1, 2, 3, 4, 5] * 5, [1, 2, 3, 4, 5, 6] * 4, [*range(16)] * 5, [*range(17)] * 6, [*range(400)]],
    ids=["nothing", "one", "23 alike", "5 rounds", "refrain", "5 long rounds", "6 longer rounds", "all different"],
)
def test_what_is_no_loop(tokens):
    assert repeated(tokens) == 0


def test_six_words_four_times_and_text_before_are_a_refrain():
    assert repeated([*range(50, 90), *[1, 2, 3, 4, 5, 6] * 4]) == 0
    assert repeated([*[1, 2, 3, 4, 5, 6] * 4, *range(50, 90)]) == 0


@given(before=BEFORE, once=ROUNDS)
def test_all_rounds_but_one_are_surplus(before, once):
    tokens = [*before, *once * rounds_of_a_loop(len(once))]
    assert tokens[: -repeated(tokens)] == [*before, *once]


@given(once=ROUNDS)
def test_a_round_fewer_is_none(once):
    assert repeated(once * (rounds_of_a_loop(len(once)) - 1)) == 0


@given(tokens=st.lists(st.integers(0, 1), max_size=80))
def test_what_is_cut_can_be_put_back_from_the_round_that_stays(tokens):
    if surplus := repeated(tokens):
        left = tokens[:-surplus]
        periods = [n for n in range(1, 17) if n * (rounds_of_a_loop(n) - 1) == surplus]
        assert any(left + left[-n:] * (surplus // n) == tokens for n in periods)


# ----------------------------------------------------------------------------------------------------------- decoding


@pytest.fixture(scope="module")
def circling(tmp_path_factory):
    """A model that cannot tell how far it is in the text, and so goes round in a circle after a first token."""
    checkpoint = small_checkpoint(2, n_text_ctx=96)
    lost = checkpoint.with_tensors({POSITIONS: np.zeros_like(checkpoint.tensors[POSITIONS])})
    return opened(lost, uniform_plan(lost.dims), tmp_path_factory.mktemp("circling") / "artifact")


def greedy(artifact, *, stop_loops):
    cross = artifact.encode([SAMPLES]).cross
    (found,) = artifact._decoder.decode(cross, Options(stop_loops=stop_loops))
    return found


def test_greedy_stops_in_a_loop_and_keeps_one_round(circling):
    endless = greedy(circling, stop_loops=False)
    on = endless.tokens
    assert (len(on), endless.looped, endless.ended) == (96 - len(PROMPT), False, False)
    stopped = greedy(circling, stop_loops=True)
    found = stopped.tokens
    assert (stopped.looped, stopped.ended) == (True, False)
    assert isinstance(found, tuple)
    # What came first is the same, and the loop begins as early as it can be seen.
    end = next(n for n in range(len(on) + 1) if repeated(on[:n]))
    assert end < len(on)
    assert found == on[: end - repeated(on[:end])]
    assert 0 < len(found) <= end - 20


def test_transcribe_stops_in_loops_unless_told_otherwise(circling):
    on = circling.transcribe(SAMPLES, Options(stop_loops=False))
    assert (len(on.tokens), on.looped) == (96 - len(PROMPT), False)
    found = circling.transcribe(SAMPLES)
    assert found == circling.transcribe(SAMPLES, Options(stop_loops=True))
    assert found.looped is True
    assert len(found.tokens) < len(on.tokens)
    assert on.tokens[: len(found.tokens)] == found.tokens
    assert len(found.text) < len(on.text)


def test_what_was_given_is_never_cut(circling):
    """Though it goes round in a circle, with what follows or by itself: what is found is a round more."""
    free = greedy(circling, stop_loops=False).tokens
    end = next(n for n in range(len(free) + 1) if repeated(free[:n]))
    for n_given in (end - 1, end - 3, end + 5):
        found = circling.transcribe(SAMPLES, Options(prefix=free[:n_given]))
        assert found.looped
        assert n_given < len(found.tokens) < n_given + 20
        assert found.tokens == free[: len(found.tokens)]


def test_nor_is_a_time_that_was_given():
    decoding = SimpleNamespace(eot=9, no_timestamps=10, timestamp_begin=11)
    prefix = (11, *[1, 2, 3, 4] * 5, 1, 2, 3, 15, 15)
    text = Text(decoding, Options(timestamps=True, prefix=prefix), 90, language="en", no_speech_prob=None)
    for token in [4, 1, 2, 3] * 6:
        assert text.hypothesis is None
        scores = np.full(99, -9, np.float32)
        scores[token] = 0
        text.take(scores)
    assert text.finished().looped
    assert text.finished().tokens == (*prefix, 4, 1, 2, 3)


def test_a_clip_after_a_loop_is_decoded_as_if_alone(circling):
    other = speech_like(0.3, 5)
    alone = circling.transcribe(other, Options(stop_loops=False))
    assert circling.transcribe(SAMPLES).looped
    assert circling.transcribe(other, Options(stop_loops=False)) == alone


def test_a_single_token_for_ever_is_left_once(tmp_path):
    """The only token allowed, 24 times: a model one token shorter ends before that is a loop."""
    base = small_checkpoint(2, n_text_ctx=96)
    for most, expected in ((len(PROMPT) + 24, ((65,), True)), (len(PROMPT) + 23, ((65,) * 23, False))):
        one = with_decoding(base, max_length=most, suppress=tuple({*range(320)} - {65}), begin_suppress=())
        artifact = opened(one, uniform_plan(one.dims), tmp_path / str(most))
        found = greedy(artifact, stop_loops=True)
        assert (found.tokens, found.looped) == expected
        assert found.mean_logprob == 0  # nothing else was possible
        found = greedy(artifact, stop_loops=False)
        assert (found.tokens, found.looped) == ((65,) * (most - len(PROMPT)), False)


def test_stutters_and_refrains_go_through(tmp_path):
    """A random model repeats single tokens here and there: nothing of it is taken away."""
    checkpoint = small_checkpoint(0, n_text_ctx=96)
    artifact = opened(checkpoint, uniform_plan(checkpoint.dims), tmp_path / "artifact")
    found = greedy(artifact, stop_loops=True)
    assert (len(found.tokens), found.looped) == (96 - len(PROMPT), False)
    assert any(one == other for one, other in pairwise(found.tokens))
    assert greedy(artifact, stop_loops=False) == found

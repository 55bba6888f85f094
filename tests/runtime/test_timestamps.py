"""Timestamps: which may follow, and the segments they make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan, with_decoding

from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.segments import segments_of
from fastwhisper_compress.runtime.timestamp_rules import TimestampRules

BASE = small_checkpoint(11, n_vocab=400, n_text_ctx=96)
CHECKPOINT = with_decoding(BASE, suppress=(1, 2, *range(257, 271)), no_speech=264)
BEGIN, EOT = 271, 256


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    return opened(CHECKPOINT, uniform_plan(CHECKPOINT.dims), tmp_path_factory.mktemp("timed") / "artifact")


@given(st.integers(0, 1000), st.floats(0.1, 5))
def test_whatever_the_scores_the_tokens_are_well_formed(seed, favour):
    rng, rules, tokens = np.random.default_rng(seed), TimestampRules(CHECKPOINT.decoding), []
    for _ in range(60):
        scores = rng.normal(0, favour, 400).astype(np.float32)
        scores[257:271] = -np.inf
        rules.apply(scores, tokens)
        token = int(scores.argmax())
        if token == EOT:
            break
        tokens.append(token)
    times = [token for token in tokens if token >= BEGIN]
    assert tokens[0] in range(BEGIN, BEGIN + 51)
    assert times == sorted(times)
    # Runs of timestamps: one at the start, at the end perhaps one, else two; and a segment lasts.
    runs = "".join("t" if token >= BEGIN else "x" for token in tokens)
    inner = [run for run in runs.strip("t").split("x") if run]
    assert not runs.startswith("tt")
    assert all(run == "tt" for run in inner)
    spans = list(zip(times[0::2], times[1::2], strict=False))
    assert all(start < end for start, end in spans)


def test_times_together_may_outweigh_the_likeliest_word():
    rules = TimestampRules(CHECKPOINT.decoding)
    for height, timed in ((1.0, True), (9.0, False)):
        scores = np.zeros(400, np.float32)
        scores[65] = height  # 0 for each of 128 times: together log(128) = 4.9
        rules.apply(scores, [BEGIN, 66])
        assert np.isneginf(scores[65]) == timed


def spelled(tokens):
    return bytes(tokens).decode()


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((BEGIN, 65, BEGIN + 50, BEGIN + 60, 66, 67, BEGIN + 80), [(0.0, 1.0, "A"), (1.2, 1.6, "BC")]),
        ((BEGIN + 5, 65, 66), [(0.1, 2.0, "AB")]),
        ((65, BEGIN + 50, BEGIN + 50, 66), [(0.0, 1.0, "A"), (1.0, 2.0, "B")]),
        ((BEGIN, 65, BEGIN + 127), [(0.0, 2.0, "A")]),
        ((BEGIN,), []),
        ((), []),
    ],
)
def test_segments_are_what_timestamps_delimit(tokens, expected):
    found = segments_of(tokens, BEGIN, 2.0, spelled)
    assert [(one.start_s, one.end_s, one.text) for one in found] == expected


def test_a_transcript_has_times_only_if_they_are_wanted(timed):
    samples = speech_like(0.9)
    plain, with_times = timed.transcribe(samples), timed.transcribe(samples, Options(timestamps=True))
    assert plain.segments == ()
    assert with_times.tokens[0] >= BEGIN
    assert "".join(one.text for one in with_times.segments).strip() == with_times.text
    assert all(0 <= one.start_s <= one.end_s <= 0.9 for one in with_times.segments)


def test_no_speech_is_read_without_changing_the_text(timed):
    samples = speech_like(0.9)
    for timestamps in (False, True):
        for previous in ((), (65, 66)):
            plain = timed.transcribe(samples, Options(timestamps=timestamps, previous=previous))
            found = timed.transcribe(samples, Options(timestamps=timestamps, previous=previous, no_speech=True))
            assert plain.no_speech_prob is None
            assert 0 < found.no_speech_prob < 1
            assert found.tokens == plain.tokens


def test_a_prefix_goes_on_as_the_text_itself_would(timed):
    samples = speech_like(0.9)
    for timestamps in (False, True):
        whole = timed.transcribe(samples, Options(timestamps=timestamps, stop_loops=False)).tokens
        options = Options(timestamps=timestamps, stop_loops=False, prefix=whole[:5])
        assert timed.transcribe(samples, options).tokens == whole


def test_earlier_text_is_cut_to_half_the_length(timed):
    samples, history = speech_like(0.9), tuple(np.random.default_rng(0).integers(32, 127, 200).tolist())
    found = timed.transcribe(samples, Options(previous=history))
    assert found == timed.transcribe(samples, Options(previous=history[-47:]))
    assert found != timed.transcribe(samples)


def test_draws_depend_on_the_seed_and_not_on_the_neighbours(timed):
    clips = [speech_like(0.5, seed) for seed in range(3)]
    warm = Options(temperature=0.8, seed=3)
    together = timed.transcribe_batch(clips, warm)
    assert [one.tokens for one in together] == [timed.transcribe(clip, warm).tokens for clip in clips]
    assert together[0].temperature == 0.8
    others = {timed.transcribe(clips[0], Options(temperature=0.8, seed=seed)).tokens for seed in range(4)}
    assert len(others) > 1
    cold = timed.transcribe(clips[0], Options(temperature=1e-4, seed=9))
    assert cold.tokens == timed.transcribe(clips[0]).tokens

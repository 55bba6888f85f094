"""Transcriber and Decoder: prompts, limits, odd input, and that nothing of one clip stays for the next."""

from __future__ import annotations

import numpy as np
import pytest
from small_whisper import SCHEMES, opened, small_checkpoint, speech_like, uniform_plan, with_decoding

from fastwhisper_compress.errors import AudioError, UsageError
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.prompt import prompt_tokens

CHECKPOINT = small_checkpoint(12)


def test_prompts_say_language_and_task(english, multilingual):
    ids = multilingual.manifest.decoding
    assert prompt_tokens(ids, "de", "transcribe") == (257, 259, 262, 270)
    assert prompt_tokens(ids, "de", "translate") == (257, 259, 261, 270)
    assert prompt_tokens(ids, "en", "transcribe") == (257, 258, 262, 270)
    assert prompt_tokens(english.manifest.decoding, "en", "transcribe") == (257, 270)


@pytest.mark.parametrize(
    ("which", "options", "place", "match"),
    [
        ("english", {"language": "de"}, "--language", "English-only"),
        ("english", {"task": "translate"}, "--language", "English-only"),
        ("multilingual", {"language": "xx"}, "--language", "'xx'"),
        ("multilingual", {"language": "German"}, "--language", "'German'"),
        ("multilingual", {"task": "summarise"}, "--task", "'summarise'"),
        ("english", {"task": ""}, "--task", "''"),
    ],
)
def test_unknown_languages_and_tasks_are_refused(request, which, options, place, match):
    with pytest.raises(UsageError, match=match) as caught:
        request.getfixturevalue(which).transcribe(speech_like(0.2), Options(**options))
    assert (caught.value.exit_code, caught.value.place) == (2, place)
    assert caught.value.remedy


def test_the_language_and_the_task_reach_the_model(multilingual):
    samples = speech_like(0.9, 1)
    encoded = multilingual.encode([samples])
    prompts = [
        prompt_tokens(multilingual.manifest.decoding, language, task)
        for language in ("en", "de", "zh")
        for task in ("transcribe", "translate")
    ]
    scores = [multilingual.forced_logits(encoded, prompt, ())[0] for prompt in prompts]
    for i, one in enumerate(scores):
        for other in scores[:i]:
            assert np.abs(one - other).max() > 1e-2


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((1, 100), np.float32),
        np.zeros((100, 2), np.float32),
        np.zeros(100, np.float64),
        np.zeros(100, np.int16),
        np.zeros(100, ">f4"),
        np.float32(0),
    ],
    ids=["batch", "stereo", "float64", "int16", "big endian", "scalar"],
)
def test_other_types_and_shapes_are_refused(english, samples):
    with pytest.raises(AudioError, match="expected float32 samples") as caught:
        english.transcribe(samples)
    assert "read_audio" in caught.value.remedy


def test_a_clip_may_fill_the_window_and_no_sample_more(english):
    samples = speech_like(1.1)
    assert english.transcribe(samples[:16_000]).tokens
    with pytest.raises(AudioError, match="16,001 samples, more than 16,000") as caught:
        english.transcribe(samples[:16_001])
    assert caught.value.remedy


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_samples_that_would_poison_the_spectrum_are_refused(english, value):
    samples = speech_like(0.5)
    before = english.transcribe(samples)
    bad = samples.copy()
    bad[77] = value
    with pytest.raises(AudioError, match="not finite"):
        english.transcribe(bad)
    assert english.transcribe(samples) == before


def test_no_samples_are_silence(english):
    nothing, zeros = (english.transcribe(np.zeros(n, np.float32)) for n in (0, 16_000))
    assert (nothing.text, nothing.tokens) == (zeros.text, zeros.tokens)
    assert np.isfinite(english.encode([np.zeros(0, np.float32)], hidden=True).hidden).all()


def test_views_and_read_only_arrays_are_taken_as_they_are(english):
    samples = speech_like(0.5)
    expected = english.transcribe(samples)
    strided = np.repeat(samples, 2)[::2]
    assert english.transcribe(strided) == expected
    frozen = np.frombuffer(samples.tobytes(), np.float32)
    assert english.transcribe(frozen) == expected
    assert np.array_equal(frozen, samples)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("scheme", ["fp32", "int8_dynamic", "int4"])
def test_nothing_of_one_clip_stays_for_the_next(tmp_path, scheme, fuse):
    plan = uniform_plan(CHECKPOINT.dims, SCHEMES[scheme], fuse=fuse)
    fresh, used = (opened(CHECKPOINT, plan, tmp_path / name) for name in ("fresh", "used"))
    first, second = speech_like(1.0, 1), speech_like(0.3, 2)
    forced = (257, 270), (65, 66)
    alone = fresh.transcribe(second), fresh.forced_logits(fresh.encode([second]), *forced)
    used.transcribe(first)
    before = used.encode([first])
    other = used.forced_logits(before, *forced)
    assert np.abs(other - alone[1]).max() > 1e-3  # the clips do differ to the model
    used.forced_logits(before, (257, 270), tuple(range(60, 80)))  # fill the cache
    again = used.transcribe(second), used.forced_logits(used.encode([second]), *forced)
    assert again[0] == alone[0]
    assert np.array_equal(again[1], alone[1])
    assert np.array_equal(used.forced_logits(before, *forced), other)  # what was encoded stays as it is


@pytest.mark.parametrize("fuse", [True, False])
def test_a_prompt_in_one_call_equals_it_token_by_token(tmp_path, fuse):
    artifact = opened(CHECKPOINT, uniform_plan(CHECKPOINT.dims, fuse=fuse), tmp_path / "a")
    encoded = artifact.encode([speech_like(0.7)])
    tokens = (257, 270, 65, 66, 67, 68)
    stepwise = artifact.forced_logits(encoded, tokens[:1], tokens[1:])
    for cut in range(1, len(tokens)):
        at_once = artifact.forced_logits(encoded, tokens[:cut], tokens[cut:])
        np.testing.assert_allclose(at_once, stepwise[cut - 1 :], atol=1e-4)


def test_end_of_text_at_once_is_an_empty_transcript(tmp_path):
    free = opened(CHECKPOINT, uniform_plan(CHECKPOINT.dims), tmp_path / "free")
    samples = speech_like(0.6, 3)
    first = free.transcribe(samples).tokens[0]
    ends = with_decoding(CHECKPOINT, eot=first)
    found = opened(ends, uniform_plan(CHECKPOINT.dims), tmp_path / "ends").transcribe(samples)
    assert (found.text, found.tokens) == ("", ())


def test_decoding_ends_at_the_models_length(tmp_path):
    for most in (1, 3, 10, 24):
        checkpoint = with_decoding(CHECKPOINT, max_length=most, suppress=(256, *range(257, 320)))
        found = opened(checkpoint, uniform_plan(CHECKPOINT.dims), tmp_path / str(most)).transcribe(speech_like(0.6))
        assert len(found.tokens) == max(most - 2, 1)


def test_suppressed_tokens_never_come(tmp_path):
    free = opened(CHECKPOINT, uniform_plan(CHECKPOINT.dims), tmp_path / "free").transcribe(speech_like(0.6)).tokens
    banned = with_decoding(CHECKPOINT, suppress=tuple({*free, *range(256, 320)}))
    found = opened(banned, uniform_plan(CHECKPOINT.dims), tmp_path / "banned").transcribe(speech_like(0.6)).tokens
    assert found
    assert not {*found} & {*free}


def test_text_is_the_tokens_bytes(english):
    found = english.transcribe(speech_like(0.8))
    assert found.text == bytes(found.tokens).decode("utf-8", errors="replace").strip()

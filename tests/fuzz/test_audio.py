"""Thousands of broken audio files: samples of bounded length or a typed error, each in time, in a process that lives on."""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastwhisper_compress.errors import AudioError
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.audio_blocks import open_stream

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from fuzz_cases.audio import audio_case

CASES = 2000
LIMIT_S = 5.0
LOOKS = 3  # at what took too long: the machine may have been busy


def outcome(path):
    """How a file ends: ``heard``, or the name of the error."""
    refusal = None
    try:
        samples = read_audio(path, max_s=30)
    except AudioError as error:
        refusal = error
    if refusal is None:
        assert samples.dtype == np.float32
        assert 0 < samples.size <= 30 * 16_000
        assert np.isfinite(samples).all()
        return "heard"
    assert refusal.place == str(path)
    assert refusal.remedy
    assert refusal.message.isprintable()
    assert str(path.parent) not in refusal.message
    return type(refusal).__name__


def timed(path):
    start = time.perf_counter()
    return outcome(path), time.perf_counter() - start


def test_every_file_is_heard_or_refused_in_time(tmp_path):
    found = Counter()
    for seed in range(CASES):
        suffix, content = audio_case(seed)
        path = tmp_path / f"case{suffix}"
        path.write_bytes(content)
        for _ in range(LOOKS):
            end, took_s = timed(path)
            if took_s < LIMIT_S:
                break
        assert took_s < LIMIT_S, seed
        found[end] += 1
    assert found["heard"] > CASES / 5  # what nothing can be made of finds little
    assert found["AudioError"] > CASES / 5


@pytest.mark.parametrize("seed", range(5))
def test_every_stream_is_heard_or_refused(seed):
    _, content = audio_case(seed)
    heard, refusal = 0, ""
    try:
        with open_stream(io.BytesIO(content)) as blocks:
            heard = sum(len(block) for block, _ in zip(blocks, range(1000), strict=False))
    except AudioError as error:
        refusal = error.remedy
    assert heard or refusal


def test_a_case_is_the_same_each_time():
    assert [audio_case(seed) for seed in range(20)] == [audio_case(seed) for seed in range(20)]

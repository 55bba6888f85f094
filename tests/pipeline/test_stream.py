"""Streams as the command line opens them, before a small random Whisper and the real detector of speech."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from small_whisper import small_checkpoint, uniform_plan, write_artifact

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.pipeline.stream import StreamJob, live_audio, stream_transcription
from fastwhisper_compress.resources import data_dir
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.transcription.arriving import Arriving

RATE = 16_000


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    checkpoint = small_checkpoint(11, n_audio_ctx=1500, n_text_ctx=448)
    checkpoint = replace(checkpoint, decoding=replace(checkpoint.decoding, alignment_heads=((0, 1),)))
    folder = tmp_path_factory.mktemp("artifacts") / "small"
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder)
    return StreamJob(folder, threads=2)


@pytest.fixture
def stdin():
    """The writing end of a pipe that standard input is, for the time being."""
    usual, (reading, writing) = os.dup(0), os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    with os.fdopen(writing, "wb") as file:
        yield file
    os.dup2(usual, 0)
    os.close(usual)


def test_pcm_comes_through_standard_input(stdin):
    samples = np.linspace(-0.5, 0.5, 3 * RATE, dtype=np.float32)

    def write():
        stdin.write((samples * 32767).astype("<i2").tobytes())
        stdin.close()

    threading.Thread(target=write).start()
    with live_audio("-", rate=RATE) as source:
        taken = [source.take(RATE, 2 * RATE) for _ in range(4)]
    assert taken[-1].size == 0
    assert np.abs(np.concatenate(taken) - samples).max() < 1e-4


def test_other_streams_are_refused():
    with pytest.raises(UsageError, match="rtsp"), live_audio("rtsp://somewhere"):
        pass


def test_silence_noise_and_music_make_no_text(job):
    time = np.arange(20 * RATE) / RATE
    beats = np.floor(time * 2)
    chords = sum(np.sin(2 * np.pi * 220 * 2 ** ((step + 5 * (beats % 4)) / 12) * time) for step in (0, 4, 7))
    music = 0.2 * chords * np.exp(-3 * (time * 2 - beats))
    noise = 0.01 * np.random.default_rng(0).standard_normal(20 * RATE)
    samples = np.concatenate([np.zeros(10 * RATE), noise, music]).astype(np.float32)
    assert list(stream_transcription(job, Arriving([samples]))) == []


def test_speech_makes_text(job):
    samples = read_audio(data_dir("eval") / "demo" / "short-01.opus")
    found = list(stream_transcription(job, Arriving([samples, np.zeros(2 * RATE, np.float32)])))
    assert [one.ends for one in found] == [False] * (len(found) - 1) + [True]
    assert found[-1].tail == ""
    assert 0 <= found[-1].end_s <= samples.size / RATE + 1

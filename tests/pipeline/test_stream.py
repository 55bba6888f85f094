"""Streams as the command line opens them, before a small random Whisper and the real detector of speech."""

from __future__ import annotations

import io
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from small_whisper import saying, small_checkpoint, uniform_plan, with_decoding, write_artifact

from fastwhisper_compress.errors import AudioError, StalledError, UsageError
from fastwhisper_compress.pipeline.live_audio import live_audio
from fastwhisper_compress.pipeline.stream import StreamJob, stream_transcription
from fastwhisper_compress.resources import data_dir
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.transcription.arriving import Arriving

RATE = 16_000


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    checkpoint = saying(small_checkpoint(11, n_audio_ctx=1500, n_text_ctx=448), ord("a"))
    checkpoint = with_decoding(checkpoint, alignment_heads=((0, 1),))
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
    with live_audio("-", rate=RATE, on_gap=pytest.fail) as source:
        taken = [source.take(RATE, 2 * RATE) for _ in range(4)]
    assert taken[-1].size == 0
    assert np.abs(np.concatenate(taken) - samples).max() < 1e-4


def test_other_streams_are_refused():
    with pytest.raises(UsageError, match="rtsp"), live_audio("rtsp://somewhere", on_gap=pytest.fail):
        pass


def heard(**options):
    """Take all that comes."""
    gaps = []
    with live_audio("-", on_gap=lambda gap: gaps.append((gap, sum(map(len, taken)) / RATE)), **options) as source:
        taken = []
        while (one := source.take(RATE, 2 * RATE)).size:
            taken.append(one)
    return np.concatenate([*taken, np.zeros(0, np.float32)]), gaps


def torn_flac():
    """Thirty seconds of noise, of which about two in the middle cannot be decoded."""
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).uniform(-0.1, 0.1, 30 * RATE), RATE, format="FLAC")
    content = bytearray(file.getvalue())
    middle = len(content) // 2
    content[middle : middle + 60_000] = bytes(60_000)
    return bytes(content)


def test_a_gap_is_told_when_it_has_ended(stdin):
    pytest.importorskip("av")
    writer = threading.Thread(target=lambda: (stdin.write(torn_flac()), stdin.close()))
    writer.start()
    samples, told = heard()
    writer.join()
    ((gap, taken_s),) = told
    assert samples.size == pytest.approx(30 * RATE, abs=2000)
    assert 13 < gap.start_s < gap.end_s < 19
    assert taken_s < 28, "it was told at the end only"


def test_a_stall_names_the_option_that_waits_longer(stdin):
    stdin.write(bytes(RATE))
    stdin.flush()
    with pytest.raises(StalledError, match="nothing more came") as error:
        heard(rate=RATE, timeout_s=0.2)
    assert "--stream-timeout" in error.value.remedy


@pytest.mark.parametrize("content", [b"no audio at all", b""])
def test_what_is_no_container_can_be_given_a_rate(stdin, content):
    stdin.write(content)
    stdin.close()
    with pytest.raises(AudioError) as error:
        heard()
    assert "--stream-rate" in error.value.remedy
    assert "export" not in error.value.remedy


def test_a_standard_input_that_cannot_be_read_is_told(tmp_path):
    usual = os.dup(0)
    try:
        with (tmp_path / "written").open("wb") as file:
            os.dup2(file.fileno(), 0)
        with pytest.raises(AudioError, match="cannot be read: Bad file descriptor"):
            heard(rate=RATE)
        os.close(0)
        with pytest.raises(AudioError, match="cannot be read: Bad file descriptor"):
            heard()
    finally:
        os.dup2(usual, 0)
        os.close(usual)


@pytest.mark.parametrize("changes", [{"task": "translate"}, {"language": "xx"}])
def test_what_the_model_cannot_do_is_told_before_anybody_speaks(job, changes):
    with pytest.raises(UsageError, match=next(iter(changes.values()))):
        next(stream_transcription(replace(job, **changes), Arriving([np.zeros(RATE, np.float32)])))


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
    assert "".join(one.text for one in found) == "a"
    assert found[-1].tail == ""
    (word,) = (word for one in found for word in one.words)
    assert 0 <= word.start_s <= word.end_s <= found[-1].end_s <= samples.size / RATE + 1

"""The process that decodes: what breaks it is told or becomes a gap, what it may use is bounded, and when it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime import audio_decoded, audio_process
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.audio_blocks import open_audio, open_stream
from fastwhisper_compress.runtime.audio_pool import POOL

RATE = 16_000
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * RATE).astype(np.float32)
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have fewer limits, and no /proc")


@pytest.fixture
def breaking(tmp_path, monkeypatch):
    """A function: rows (first second, last, how its decoder breaks there) -> a recording of 20 s."""
    monkeypatch.setattr(audio_process, "_MODULE", "breaking_child")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def write(*rows):
        path = tmp_path / "a.wav"
        soundfile.write(path, SOUND, RATE, subtype="FLOAT")
        path.with_name("a.wav.breaks").write_text(json.dumps(rows))
        return path

    POOL.close()
    yield write
    POOL.close()


def heard(path, start_s=0.0):
    with open_audio(path, start_s=start_s) as blocks:
        return np.concatenate([*blocks, np.zeros(0, np.float32)]), blocks.gaps


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("dies", "its decoder was ended by SIGSEGV"),
        ("exits", "its decoder ended with exit code 3"),
        ("fails", "ZeroDivisionError"),
        *(
            pytest.param(how, match, marks=linux)
            for how, match in (
                ("spins", "takes too long"),
                ("allocates", "more than 512 MiB of memory"),
                ("writes", "File too large"),
                ("opens", "Too many open files"),
                ("lies", "its decoder "),
            )
        ),
    ],
)
def test_what_breaks_a_decoder_is_told(breaking, how, match):
    for second in (-1, 0):  # before anything is said, and where samples should be
        path = breaking((second, second + 1, how))
        with pytest.raises(AudioError, match=match) as caught:
            read_audio(path)
        assert caught.value.place == str(path)
        assert caught.value.remedy
        assert caught.value.message.startswith("cannot be decoded: ")


def test_a_decoder_that_says_nothing_is_ended(breaking, monkeypatch):
    monkeypatch.setattr(audio_decoded, "_WAIT_S", 1.5)
    monkeypatch.setattr(audio_decoded, "_BUSY", 0)
    with pytest.raises(AudioError, match="no answer for too long"):
        read_audio(breaking((0, 1, "hangs")))


@pytest.mark.parametrize("start_s", [0.0, 2.0])
def test_behind_the_place_where_it_broke_the_rest_is_heard(breaking, start_s):
    path = breaking((5.2, 5.3, "dies"), (11, 13.5, "dies"))
    found, (first, second) = heard(path, start_s)
    assert first.start_s <= 5.2
    assert first.end_s >= 5.3
    assert first.end_s - first.start_s == pytest.approx(1)
    assert second.start_s <= 11
    assert second.end_s >= 13.5
    assert second.end_s - second.start_s == pytest.approx(4)
    assert "SIGSEGV" in first.reason
    expected = SOUND.copy()
    for gap in (first, second):
        expected[round(gap.start_s * RATE) : round(gap.end_s * RATE)] = 0
    assert np.array_equal(found, expected[round(start_s * RATE) :])
    with pytest.raises(AudioError, match="SIGSEGV"):  # a clip is whole or refused
        read_audio(path)


def test_a_chapter_may_begin_where_it_breaks(breaking):
    found, (gap,) = heard(breaking((5, 5.5, "dies")), 5.0)
    assert (gap.start_s, gap.end_s) == (5, 6)
    assert np.array_equal(found[RATE:], SOUND[6 * RATE :])
    found, (gap,) = heard(breaking((-1, 0, "dies")), 5.0)
    assert (found.size, gap.start_s) == (0, 5)


def test_what_breaks_it_over_and_over_ends_the_recording(breaking):
    found, (gap,) = heard(breaking((8, 20, "dies")))
    assert found.size <= 8 * RATE
    assert np.array_equal(found, SOUND[: found.size])
    assert gap.start_s == found.size / RATE
    assert gap.end_s == 20


def test_a_stream_is_heard_up_to_where_it_broke(breaking):
    found = []
    stream = open_stream(io.BytesIO(breaking().read_bytes()), name="the pipe")
    with stream as blocks, pytest.raises(AudioError, match="SIGSEGV") as caught:
        found.extend(blocks)
    assert caught.value.place == "the pipe"
    assert np.array_equal(np.concatenate(found), SOUND[: sum(map(len, found))])
    assert sum(map(len, found)) == pytest.approx(2 * RATE, rel=0.1)


def test_the_same_process_reads_one_file_after_another(tmp_path):
    paths = []
    for name, samples in (("a.wav", SOUND[:RATE]), ("b.flac", SOUND[: 2 * RATE])):
        paths.append(tmp_path / name)
        soundfile.write(paths[-1], samples, RATE)
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    read_audio(paths[0])
    kept = POOL._idle
    with open_audio(paths[1]) as given_up:
        next(iter(given_up))
    with pytest.raises(AudioError):
        read_audio(tmp_path / "bad.wav")
    assert read_audio(paths[1]).size == 2 * RATE
    assert POOL._idle is kept
    with open_audio(paths[0]) as one, open_audio(paths[1]) as other:  # two at a time are two processes
        assert [sum(map(len, other)), sum(map(len, one))] == [2 * RATE, RATE]


@pytest.mark.skipif(sys.platform == "win32", reason="it cannot wait for a while there")
def test_one_that_nobody_asks_ends_but_never_while_it_is_heard(breaking):
    path = breaking()
    with open_audio(path) as blocks:
        found = []
        for block in blocks:
            if not found:
                time.sleep(1)
            found.append(block)
        assert np.array_equal(np.concatenate(found), SOUND)
        assert blocks.gaps == []
    kept = POOL._idle
    assert kept._process.wait(20) == 0
    assert read_audio(path).size == SOUND.size
    assert POOL._idle is not kept


def test_a_file_that_may_not_be_read_is_told(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUND[:RATE], RATE)
    (tmp_path / "a.wav").chmod(0)
    if os.access(tmp_path / "a.wav", os.R_OK):
        pytest.skip("whoever runs this may read everything")
    with pytest.raises(AudioError, match="Permission denied") as caught:
        read_audio(tmp_path / "a.wav")
    assert str(tmp_path) not in caught.value.message


def test_one_that_cannot_start_says_how_to_find_out_why(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", SOUND[:RATE], RATE)
    POOL.close()
    monkeypatch.setattr(audio_process, "_MODULE", "no_such_module")
    with pytest.raises(BackendError, match="breaks by itself") as caught:
        read_audio(tmp_path / "a.wav")
    assert "python -m no_such_module" in caught.value.remedy


@linux
def test_it_never_outlives_whoever_asks(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUND, RATE)
    code = (
        "import sys, time; from fastwhisper_compress.runtime.audio_blocks import open_audio\n"
        "blocks = open_audio(sys.argv[1]); iterator = iter(blocks); next(iterator)\n"
        "print(blocks._sound._process._process.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.wav"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as asking:
        pid = int(asking.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        os.kill(asking.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@linux
def test_it_holds_no_secrets_and_only_what_decoding_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    soundfile.write(tmp_path / "a.wav", SOUND[:RATE], RATE)
    POOL.close()
    read_audio(tmp_path / "a.wav")
    process = Path(f"/proc/{POOL._idle._process.pid}")
    assert b"secret" not in (process / "environ").read_bytes()
    assert "onnxruntime" not in (process / "maps").read_text()
    limits = {line[:25].strip(): line[25:].split()[:2] for line in (process / "limits").read_text().splitlines()}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max open files"] == ["32", "32"]
    assert limits["Max data size"] == [str(512 << 20)] * 2
    assert int(limits["Max cpu time"][0]) < 10

"""What ``transcribe --stream`` prints: see tests/transcription for what it hears."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import deque
from contextlib import contextmanager

import numpy as np
import pytest
from small_whisper import saying, small_checkpoint, uniform_plan, with_decoding, write_artifact
from terminal import COMMAND, Done, start

from fastwhisper_compress.cli import stream as printing
from fastwhisper_compress.cli.app import app
from fastwhisper_compress.errors import StalledError, UsageError
from fastwhisper_compress.pipeline import live_audio as opening
from fastwhisper_compress.pipeline import stream as pipeline
from fastwhisper_compress.pipeline.live_audio import LiveAudio
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.audio_blocks import Gap
from fastwhisper_compress.runtime.transcript import Word
from fastwhisper_compress.transcription.arriving import Arriving
from fastwhisper_compress.transcription.streaming import Committed


def news(text, start_s, end_s, tail="", *, ends=False):
    words = (Word(text, start_s, end_s, 1.0, (1,)),) if text else ()
    return Committed(text, start_s, end_s, words, tail, end_s + 1, "en", ends)


NEWS = [
    news("", 0.0, 0.0, " One"),
    news(" One", 0.5, 0.9, " tow"),
    news(" two.", 0.9, 1.4, ends=True),
    news(" Three.", 5.0, 5.5, ends=True),
    news("", 5.5, 5.5, ends=True),
]


@pytest.fixture
def fed(monkeypatch):
    """Replace the stream and the model; returns a function that says what comes."""

    @contextmanager
    def live_audio(name, *, rate, timeout_s, on_gap):
        gaps = deque([Gap(0.25, 0.5, "noise")])
        with Arriving([np.zeros(16_000, np.float32)]) as arriving:
            yield LiveAudio(arriving, gaps, on_gap)

    def feed(transcription):
        monkeypatch.setattr(opening, "live_audio", live_audio)
        monkeypatch.setattr(pipeline, "stream_transcription", transcription)

    return feed


def test_text_is_a_line_an_utterance(fed, capsys):
    fed(lambda job, source: iter(NEWS))
    printing.stream_text(None, "-", rate=None, timeout_s=None, as_json=False)
    assert capsys.readouterr().out == "One two.\nThree.\n"


def test_json_is_a_line_a_step(fed, capsys):
    fed(lambda job, source: iter(NEWS))
    printing.stream_text(None, "-", rate=None, timeout_s=None, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["", " One", " two.", " Three.", ""]
    assert rows[1]["tail"] == " tow"
    assert rows[1]["words"] == [{"word": " One", "start": 0.5, "end": 0.9}]
    assert [row["ends"] for row in rows] == [False, False, True, True, True]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_gap_is_told_on_stderr_and_in_the_json(fed, capsys, as_json):
    def torn(job, source):
        yield NEWS[1]
        source.take(16_000, 16_000)
        yield NEWS[2]

    fed(torn)
    printing.stream_text(None, "-", rate=None, timeout_s=None, as_json=as_json)
    said = capsys.readouterr()
    assert said.err == "--stream -: 0.25 to 0.50 s could not be decoded: noise\n"
    if as_json:
        rows = [json.loads(line) for line in said.out.splitlines()]
        assert rows[1] == {"gap": {"start": 0.25, "end": 0.5, "reason": "noise"}}
        assert [row["text"] for row in (rows[0], rows[2])] == [" One", " two."]
    else:
        assert said.out == "One two.\n"


def test_a_stall_comes_after_what_was_heard(fed, capsys):
    def stalls(job, source):
        yield from NEWS[:3]
        raise StalledError("nothing came")

    fed(stalls)
    with pytest.raises(StalledError):
        printing.stream_text(None, "-", rate=None, timeout_s=None, as_json=False)
    assert capsys.readouterr().out == "One two.\n"


def test_an_interrupt_ends_the_stream_and_the_rest_is_printed(fed, capsys):
    def interrupted(job, source):
        yield NEWS[1]
        os.kill(os.getpid(), signal.SIGINT)
        source.take(16_000, 16_000)
        assert source.take(16_000, 16_000).size == 0
        yield NEWS[2]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

    fed(interrupted)
    printing.stream_text(None, "-", rate=None, timeout_s=None, as_json=False)
    assert capsys.readouterr().out == "One two.\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["--stream", "-", "clip.wav"], "--stream"),
        (["--stream", "-", "--format", "srt"], "--format"),
        (["--stream", "-", "--lines", 1], "--lines"),
        (["--stream", "-", "--mode", "sequential"], "--mode"),
        (["--stream", "mic", "--stream-rate", 16_000], "--stream-rate"),
        (["--stream", "mic", "--stream-timeout", 5], "--stream-timeout"),
        (["--stream", "pipe"], "--stream"),
        ([], "FILES"),
        (["clip.wav", "--stream-rate", 16_000], "--stream-rate"),
        (["clip.wav", "--stream-timeout", 5], "--stream-timeout"),
        (["clip.wav", "--lines", 1], "--lines"),
        (["clip.wav", "--line-characters", 30, "--json"], "--line-characters"),
        (["clip.wav", "--mode", "sequential", "--no-vad"], "--no-vad"),
        (["clip.wav", "--mode", "sequential", "--batch-size", "auto"], "--batch-size"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, place):
    with pytest.raises(UsageError) as error:
        app(["transcribe", "artifact", *map(str, arguments)], standalone_mode=False)
    assert place in error.value.place
    assert error.value.remedy


# ---------------------------------------------------------------------------------------------------- as a process


@pytest.fixture(scope="module")
def speaking(tmp_path_factory):
    """An artifact that says the letter a, whatever it hears."""
    checkpoint = saying(small_checkpoint(11, n_audio_ctx=1500, n_text_ctx=448), ord("a"))
    checkpoint = with_decoding(checkpoint, alignment_heads=((0, 1),))
    folder = tmp_path_factory.mktemp("artifacts") / "speaking"
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder)
    return folder


@pytest.fixture
def piped(speaking, repository, tmp_path):
    """A function: options -> a process into which a second or two of speech are piped, and the end that writes."""
    samples = read_audio(repository / "eval" / "demo" / "short-01.opus")
    pcm = (samples * 32767).astype("<i2").tobytes()[:64_000]  # what a pipe holds at once

    @contextmanager
    def piped_(*options):
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb", buffering=0) as file:
            file.write(pcm)
            with os.fdopen(reading, "rb") as stdin:
                process = start(
                    "transcribe",
                    speaking,
                    "--stream",
                    "-",
                    "--stream-rate",
                    16_000,
                    *options,
                    cwd=tmp_path,
                    stdin=stdin,
                )
            with process:
                try:
                    yield process, file
                finally:
                    process.kill()

    return piped_


def test_a_pipe_that_closes_ends_the_text(piped):
    with piped() as (process, file):
        file.close()
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "a\n", "")


def test_a_pipe_that_stalls_ends_it_with_a_remedy(piped):
    with piped("--stream-timeout", 0.5) as (process, _):
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (6, "a\n")
    assert err.startswith("error: --stream -: nothing more came\n  remedy: ")
    assert "--stream-timeout" in err


def test_an_interrupt_ends_a_pipe_that_is_still_open(piped):
    with piped("--json", "--stream-timeout", 100) as (process, _):
        first = json.loads(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    rows = [first, *map(json.loads, out.splitlines())]
    assert (process.returncode, err) == (0, "")
    assert "".join(row["text"] for row in rows) == "a"
    assert [row["ends"] for row in rows] == [False] * (len(rows) - 1) + [True]


def test_a_closed_standard_input_is_told(tmp_path):
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "transcribe", "artifact", "--stream", "-"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path, timeout=120, check=False)
    Done(done.returncode, done.stdout, done.stderr).refused(2, "--stream -", "standard input is closed")

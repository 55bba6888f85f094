"""What ``transcribe --stream`` prints: see tests/transcription for what it hears."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest

from fastwhisper_compress.cli import stream as printing
from fastwhisper_compress.cli.app import app
from fastwhisper_compress.errors import StalledError, UsageError
from fastwhisper_compress.pipeline import stream as pipeline
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
    def live_audio(name, *, rate):
        with Arriving([np.zeros(16_000, np.float32)]) as source:
            yield source

    def feed(transcription):
        monkeypatch.setattr(pipeline, "live_audio", live_audio)
        monkeypatch.setattr(pipeline, "stream_transcription", transcription)

    return feed


def test_text_is_a_line_an_utterance(fed, capsys):
    fed(lambda job, source: iter(NEWS))
    printing.stream_text(None, "-", rate=None, as_json=False)
    assert capsys.readouterr().out == "One two.\nThree.\n"


def test_json_is_a_line_a_step(fed, capsys):
    fed(lambda job, source: iter(NEWS))
    printing.stream_text(None, "-", rate=None, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["", " One", " two.", " Three.", ""]
    assert rows[1]["tail"] == " tow"
    assert rows[1]["words"] == [{"word": " One", "start": 0.5, "end": 0.9}]
    assert [row["ends"] for row in rows] == [False, False, True, True, True]


def test_a_stall_comes_after_what_was_heard(fed, capsys):
    def stalls(job, source):
        yield from NEWS[:3]
        raise StalledError("nothing came")

    fed(stalls)
    with pytest.raises(StalledError):
        printing.stream_text(None, "-", rate=None, as_json=False)
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
    printing.stream_text(None, "-", rate=None, as_json=False)
    assert capsys.readouterr().out == "One two.\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "arguments", [["--stream", "-", "clip.wav"], ["--stream", "-", "--format", "srt"], [], ["--stream", "pipe"]]
)
def test_options_that_do_not_go_together_are_refused(arguments):
    with pytest.raises(UsageError) as error:
        app(["transcribe", "artifact", *arguments], standalone_mode=False)
    assert error.value.remedy

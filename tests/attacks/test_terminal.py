"""What a model writes and what files are called, printed on a terminal and written for players of subtitles."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_whisper import small_checkpoint, uniform_plan, write_artifact

sys.path.append(str(Path(__file__).parents[1] / "cli"))
import hearing

from fastwhisper_compress.cli import main
from fastwhisper_compress.harmless import harmless, harmless_json
from fastwhisper_compress.runtime.transcript import Segment, Transcript
from fastwhisper_compress.transcription.cues import Screen
from fastwhisper_compress.transcription.formats import written
from fastwhisper_compress.transcription.kinds import Format
from fastwhisper_compress.transcription.recording import Recording

ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = (
    " \x1b]0;owned\x07\x1b[2J\x9b31m\x00\r\x08\x7f\u202etxt.exe\u202c\u2066\u2028 <script>alert(1)</script>"
    " {\\an8\\fs200} --> 00:00:00,000\n\n7\n00:00:01,000 --> 00:00:02,000\nforged\tcell \ud800 =cmd|'/c calc'!A1"
)
SAID = HOSTILE.replace("\ud800", "")  # a model's bytes are decoded, so that none is a surrogate
NAME = "\x1b]0;owned\x07\u202e\x9b2J\nerror: forged\r.wav"


def test_every_character_that_acts_is_shown():
    everything = "".join(map(chr, range(0x11_0000)))
    left = harmless(everything)
    assert not ACTING.search(left)
    assert {"\t", "\n", "é", "ע", "ع", "\u200d", "\u200f", "文"} <= set(left)
    assert harmless("a\x1bb") == "a⟨U+001B⟩b"
    text = harmless_json([everything[:0xD800] + everything[0xE000:], {"\ud800": "\x9b"}])
    assert not ACTING.search(text)
    assert json.loads(text) == [everything[:0xD800] + everything[0xE000:], {"\ud800": "\x9b"}]


@pytest.mark.parametrize("kind", Format)
def test_a_hostile_transcript_forges_nothing(kind):
    recording = Recording("a.wav", "en", 9.0, (Segment(0, 4, HOSTILE, (1,)), Segment(4, 9, " Fine.", (2,))))
    text = written(recording, kind, Screen())
    assert not ACTING.search(text)
    if kind == "json":
        assert [one["text"] for one in json.loads(text)["segments"]] == [HOSTILE, " Fine."]
        return
    assert text.rstrip().endswith("Fine.")
    if kind in ("srt", "vtt"):
        assert len(re.findall("-->", text)) == 2
        assert not re.search(r"<[a-zA-Z/!?]", text)
        assert kind == "vtt" or "{\\" not in text
        assert len(re.split(r"\n\n", text.strip())) == 2 + (kind == "vtt")
    if kind == "tsv":
        assert [len(line.split("\t")) for line in text.splitlines()] == [3, 3, 3]
    if kind == "txt":
        assert len(text.splitlines()) == 2


@pytest.fixture
def cli(monkeypatch, capsys):
    def cli_(*arguments):
        monkeypatch.setattr(sys, "argv", ["fastwhisper-compress", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    return cli_


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    """Something with a manifest, that hears nothing but hostile text."""
    checkpoint = small_checkpoint()
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), tmp_path / "artifact")
    hearing.install(monkeypatch)
    heard = Transcript(SAID, (0, 1), False, True, -0.1, "en", segments=(Segment(0, 1, SAID, (1,)),))
    monkeypatch.setattr(hearing.Hearing, "_transcript", lambda *_: heard)
    return tmp_path / "artifact"


def test_the_terminal_sees_no_control_character(cli, artifact, tmp_path):
    talk = tmp_path / NAME
    soundfile.write(talk, np.zeros(16_000), 16_000)
    options = ("transcribe", artifact, talk, "--no-vad")
    for more in ((), (talk.with_name(f"2{NAME}"),), ("--format", "srt"), ("--json",), ("--out", tmp_path / "out")):
        code, out, err = cli(*options, *more)
        assert code == (2 if more and isinstance(more[0], Path) else 0), err
        assert not ACTING.search(out + err)
        assert "\nerror: forged" not in err
    assert "error: " in cli(*options, talk.with_name(f"2{NAME}"))[2]
    (found,) = json.loads(cli(*options, "--json")[1])
    assert (found["file"], found["segments"][0]["text"]) == (str(talk), SAID)


@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", NAME),
        ("run", f"{NAME}.yaml"),
        ("run", "fp32", "--model", NAME),
        ("run", "fp32", "-o", f"{NAME}=1"),
        ("eval", NAME),
        ("transcribe", NAME, NAME),
        ("compare", NAME),
        ("plan", NAME),
        ("plan", "base", "--device", NAME),
    ],
)
def test_errors_that_name_files_do_not_act(cli, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments)
    assert code == 2
    assert not ACTING.search(out + err)
    assert "\nerror: forged" not in err


def test_a_bug_is_told_without_acting(cli, artifact, monkeypatch):
    def broken(*_):
        raise LookupError(NAME)

    monkeypatch.setattr(hearing.transcribe, "read_manifest", broken)
    code, out, err = cli("transcribe", artifact, "a.wav")
    assert (code, out) == (1, "")
    assert "LookupError" in err
    assert not ACTING.search(err)


def test_a_terminal_that_knows_few_characters_is_enough(cli):
    sys.stderr.reconfigure(encoding="latin-1")
    code, _, err = cli("validate", "fp32", "--model", "\x1b")
    assert code == 2
    assert "\\u27e8U+001B\\u27e9" in err

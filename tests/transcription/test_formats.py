"""Transcripts as files: compared with files written by hand, and what every reader of subtitles relies on."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwhisper_compress.runtime.audio_blocks import Gap
from fastwhisper_compress.runtime.transcript import Segment, Word
from fastwhisper_compress.transcription.cues import Screen, cues
from fastwhisper_compress.transcription.formats import write_recording, written
from fastwhisper_compress.transcription.kinds import Format
from fastwhisper_compress.transcription.recording import Recording, joined, segment_from_json, segment_to_json

SCREEN = Screen()
SEGMENTS = (
    Segment(0.0, 1.5, " Tom & <Jerry>", (1, 2)),
    Segment(1.5, 3661.0004, " go --> there,\n\tthen\u2028back", (3,)),
    Segment(3661.0004, 3662, "  ", ()),
)
RECORDING = Recording("talk.flac", "en", 3662.5, SEGMENTS, (Gap(2, 2.5, "torn"),), {"mode": "packed"})

GOLDEN = {
    Format.TXT: "Tom & <Jerry>\ngo --> there, then back\n",
    Format.SRT: (
        "1\n00:00:00,000 --> 00:00:01,500\nTom & < Jerry>\n\n2\n00:00:01,500 --> 01:01:01,000\ngo -> there, then back\n"
    ),
    Format.VTT: (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nTom &amp; &lt;Jerry&gt;\n\n"
        "00:00:01.500 --> 01:01:01.000\ngo --&gt; there, then back\n"
    ),
    Format.TSV: "start\tend\ttext\n0\t1500\tTom & <Jerry>\n1500\t3661000\tgo --> there, then back\n",
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_as_written_by_hand(kind):
    assert written(RECORDING, kind, SCREEN) == GOLDEN[kind]


def test_json_holds_everything(tmp_path):
    words = (Word(" héllo", 0.12345, 0.5, 0.98765, (7,)),)
    recording = Recording("a.wav", None, 1.23456, (Segment(0.12345, 0.5, " héllo", (7,), words),), (), {"task": "x"})
    path = write_recording(recording, tmp_path / "new" / "a.json", Format.JSON, SCREEN)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "schema_version": 1,
        "file": "a.wav",
        "language": None,
        "duration_s": 1.235,
        "text": "héllo",
        "segments": [
            {
                "start": 0.123,
                "end": 0.5,
                "text": " héllo",
                "tokens": [7],
                "words": [{"word": " héllo", "start": 0.123, "end": 0.5, "probability": 0.988, "tokens": [7]}],
            }
        ],
        "gaps": [],
        "task": "x",
    }
    assert [one.name for one in path.parent.iterdir()] == ["a.json"]
    assert json.loads(written(RECORDING, Format.JSON, SCREEN))["gaps"] == [{"start": 2, "end": 2.5, "reason": "torn"}]


@pytest.mark.parametrize("kind", Format)
def test_nothing_said(kind):
    empty = written(Recording("a.wav", None, 1.0, ()), kind, SCREEN)
    assert empty == {"txt": "", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n"}.get(kind, empty)


def test_long_segments_are_broken_where_words_begin():
    words = tuple(Word(f" word{n}", float(n), n + 0.5, 1.0, ()) for n in range(9))
    segment = Segment(0, 9, "".join(word.text for word in words), (), words)
    found = list(cues([segment], Screen(line_characters=11, lines=2)))
    assert [(cue.start_ms, cue.end_ms, cue.lines) for cue in found] == [
        (0, 3500, ("word0 word1", "word2 word3")),
        (4000, 7500, ("word4 word5", "word6 word7")),
        (8000, 9000, ("word8",)),
    ]
    (whole,) = cues([Segment(0, 9, segment.text, ())], Screen(line_characters=11, lines=2))
    assert len(whole.lines) == 5  # nobody knows when its words are said


times = st.floats(0, 1e5)
texts = st.text("ab é文𝄞-><&\n\t\u2028 ", max_size=40)


@st.composite
def segments(draw):
    start, end = sorted((draw(times), draw(times)))
    said = [draw(texts) for _ in range(draw(st.integers(0, 4)))]
    words = tuple(Word(text, start, end, 0.5, (1,)) for text in said)
    return Segment(start, end, "".join(said) if said else draw(texts), (1,), words)


@given(st.lists(segments(), max_size=6), st.integers(1, 50), st.integers(1, 3))
def test_subtitles_can_be_read_back(parts, characters, lines):
    screen = Screen(characters, lines)
    found = list(cues(parts, screen))
    assert all(a.end_ms <= b.start_ms for a, b in itertools.pairwise(found))
    assert all(cue.start_ms < cue.end_ms and cue.lines and all(map(str.strip, cue.lines)) for cue in found)
    said = "".join(part.text for part in parts).split()
    assert "".join(line for cue in found for line in cue.lines).replace(" ", "") == "".join(said)

    recording = Recording("x", "en", 1.0, tuple(parts))
    for kind, point in ((Format.SRT, ","), (Format.VTT, r"\.")):
        text = written(recording, kind, screen)
        clock = rf"\d\d+:\d\d:\d\d{point}\d\d\d"
        blocks = [block for block in text.split("\n\n") if block and block.strip() != "WEBVTT"]
        assert len(blocks) == len(found)
        for block in blocks:
            assert len(re.findall("-->", block)) == 1
            assert re.search(rf"^{clock} --> {clock}$", block, re.MULTILINE)
    rows = [row.split("\t") for row in written(recording, Format.TSV, screen).split("\n")[:-1]]
    assert all(len(row) == 3 for row in rows)


@given(segments())
def test_a_segment_comes_back_from_json_to_the_last_bit(segment):
    assert segment_from_json(json.loads(json.dumps(segment_to_json(segment)))) == segment


def test_gaps_found_twice_are_told_once():
    assert joined([Gap(5, 6, "b"), Gap(1, 3, "a"), Gap(2, 4, "c")]) == (Gap(1, 4, "a"), Gap(5, 6, "b"))

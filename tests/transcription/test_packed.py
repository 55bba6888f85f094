"""Windows of files, heard in batches, put back into their files in order."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from fastwhisper_compress.errors import AudioError
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcript import Transcript
from fastwhisper_compress.transcription.packed import transcribe_packed
from fastwhisper_compress.transcription.work import End, Part, Reading

RATE = 16_000


class Levels:
    """A model that says how loud a window is, refuses what is louder than 0.9, and takes the level for a language."""

    def __init__(self, languages=("en", "ja")):
        self.languages, self.batches = languages, []

    def check(self, samples):
        if samples.max() > 0.9:
            raise AudioError("too loud")

    def transcribe_batch(self, clips, options):
        self.batches.append((len(clips), options.language))
        return [self.transcribe(one, options) for one in clips]

    def transcribe(self, samples, options):
        language = options.language or self.languages[0]
        text = f"This window has a level of {samples.max():.1f}. " + "And more of the same could be said. " * 5
        return Transcript(text.strip(), (1,), False, True, -0.2, language)

    def detect_language(self, samples):
        return {language: 1.0 - place / 2 for place, language in enumerate(self.languages)}

    def free_memory(self):
        pass


def write(path, levels):
    samples = np.concatenate([np.full(30 * RATE, level, np.float32) for level in levels])
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def heard(model, files, **options):
    readings = [Reading(file, index) for index, file in enumerate(files)]
    return list(transcribe_packed(model, readings, Options(**options), 2, detector=None, on_shrink=pytest.fail))


def texts(events):
    return [[one.text for one in what.segments] for _, what in events if isinstance(what, Part)]


def test_windows_of_several_files_share_batches_and_find_back(tmp_path):
    model = Levels()
    files = [write(tmp_path / "a.wav", [0.1]), write(tmp_path / "b.wav", [0.2, 0.3]), write(tmp_path / "c.wav", [0.4])]
    events = heard(model, files, language="en")
    assert [(reading.index, type(what)) for reading, what in events] == [
        (0, Part), (0, End), (1, Part), (1, Part), (1, End), (2, Part), (2, End),
    ]  # fmt: skip
    assert [one[:33].strip() for (one,) in texts(events)] == [
        f"This window has a level of 0.{i}."[:32] for i in (1, 2, 3, 4)
    ]
    assert model.batches == [(2, "en"), (2, "en")]


def test_a_window_that_the_model_refuses_is_a_gap_and_the_rest_is_heard(tmp_path):
    events = heard(Levels(), [write(tmp_path / "a.wav", [0.1, 1.0, 0.3])], language="en")
    parts = [what for _, what in events if isinstance(what, Part)]
    assert [len(part.segments) for part in parts] == [1, 0, 1]
    (gap,) = parts[1].gaps
    assert (gap.start_s, gap.end_s, gap.reason) == (30.0, 60.0, "too loud")
    assert isinstance(events[-1][1], End)


def test_a_file_that_cannot_be_read_does_not_keep_the_next_from_being_heard(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    events = heard(Levels(), [tmp_path / "a.wav", write(tmp_path / "b.wav", [0.2])], language="en")
    assert isinstance(events[0][1], AudioError)
    assert str(tmp_path / "a.wav") in str(events[0][1])
    assert [type(what) for reading, what in events if reading.index == 1] == [Part, End]


def test_the_language_is_detected_once_a_file_and_told_to_all_windows(tmp_path):
    model = Levels(languages=("ja", "en"))
    events = heard(model, [write(tmp_path / "a.wav", [0.1, 0.2])])
    assert model.batches == [(2, "ja")]
    assert {what.language for _, what in events if isinstance(what, Part)} == {"ja"}


def test_what_is_written_decides_about_spaces_not_what_is_spoken(tmp_path):
    file = write(tmp_path / "a.wav", [0.1, 0.2])
    spoken = texts(heard(Levels(), [file], language="ja"))
    translated = texts(heard(Levels(), [file], language="ja", task="translate"))
    assert not any(one.startswith(" ") for (one,) in spoken)
    assert all(one.startswith(" This") for (one,) in translated)

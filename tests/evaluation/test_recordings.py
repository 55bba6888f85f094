"""Recordings in the measuring process: the packed long form is real here, the model is not."""

from __future__ import annotations

import numpy as np
import pytest

from fastwhisper_compress.errors import AudioError, OutOfMemoryError
from fastwhisper_compress.evaluation.intact import audio_digest
from fastwhisper_compress.evaluation.recordings import hear_recordings
from fastwhisper_compress.evaluation.timeline import Timeline
from fastwhisper_compress.runtime.transcript import Segment, Transcript, Word


class FakeModel:
    """Hears "window one of its kind and long enough ..." in every window, and times its words."""

    def __init__(self, failing=None):
        self.batches = []
        self.failing = failing

    def check(self, samples):
        pass

    def free_memory(self):
        pass

    def detect_language(self, samples):
        raise AssertionError("a suite names its language")

    def transcribe(self, samples, options):
        return self.transcribe_batch([samples], options)[0]

    def transcribe_batch(self, clips, options):
        self.batches.append((len(clips), options))
        if self.failing:
            raise self.failing
        return [self._heard(len(samples) / 16_000, options) for samples in clips]

    def _heard(self, seconds, options):
        text = (
            "every window holds some words that do not repeat themselves and so many of them that it is left alone then"
        )
        size = seconds / len(text.split())
        words = tuple(Word(f" {word}", i * size, (i + 0.8) * size, 0.9) for i, word in enumerate(text.split()))
        segment = Segment(0.0, seconds, f" {text}", (1, 2), words if options.words else ())
        return Transcript(text, (1, 2), False, True, -0.1, options.language, segments=(segment,), words=segment.words)


def hear(model, *files, words=True, warm_up=False):
    utterances = [
        {"id": f"r{i}", "audio": str(file), "sha256": audio_digest(file), "language": "en"}
        for i, file in enumerate(files)
    ]
    return list(
        hear_recordings(
            model, utterances, words=words, batch_size=2, on_shrink=lambda _before, _after: None, warm_up=warm_up
        )
    )


def test_a_recording_becomes_a_row_with_its_times(spoken):
    model = FakeModel()
    (row,) = hear(model, spoken.audio)
    assert row["error"] is None
    assert row["audio_s"] == pytest.approx(spoken.times[-1][1] + 4, abs=0.1)
    assert row["wall_s"] > 0
    timeline = Timeline.from_json(row["timeline"])
    assert row["text"].split() == [word for one in timeline.words for word in one.text.split()]
    assert [one.start_s for one in timeline.words] == sorted(one.start_s for one in timeline.words)
    assert len(timeline.windows) == sum(size for size, options in model.batches if options.temperature == 0) >= 2
    for start, end in spoken.times:  # nothing that is said was left out, save the edges of the clips
        assert any(first <= start + 1 and last >= end - 1 for first, last in timeline.spans)
    inside = [any(start - 0.5 <= one.middle_s <= end + 0.5 for start, end in timeline.pieces) for one in timeline.words]
    assert all(inside)


def test_words_are_timed_only_if_the_model_can(spoken):
    (row,) = hear(FakeModel(), spoken.audio, words=False)
    assert row["timeline"]["words"] == []
    assert row["text"]


def test_the_first_window_warms_up_untimed(spoken):
    cold, warm = FakeModel(), FakeModel()
    first, second = hear(cold, spoken.audio), hear(warm, spoken.audio, warm_up=True)
    assert len(warm.batches) == len(cold.batches) + 1
    assert warm.batches[0][0] == 1
    assert first[0]["timeline"]["windows"] == second[0]["timeline"]["windows"]


def test_audio_that_cannot_be_read_does_not_stop_the_others(spoken, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"not audio")
    first, second = hear(FakeModel(), broken, spoken.audio, warm_up=True)
    assert first["error"]
    assert (first["text"], first["timeline"], first["audio_s"]) == ("", None, 0.0)
    assert second["error"] is None


def test_silence_is_a_row_without_text(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "silence.wav", np.zeros(40 * 16_000, np.float32), 16_000)
    model = FakeModel()
    (row,) = hear(model, tmp_path / "silence.wav")
    assert (row["text"], row["error"], row["audio_s"]) == ("", None, 40.0)
    assert row["timeline"]["windows"] == []
    assert model.batches == []


def test_memory_that_does_not_suffice_is_no_broken_audio(spoken):
    with pytest.raises(OutOfMemoryError):
        hear(FakeModel(OutOfMemoryError("no memory")), spoken.audio)
    assert not issubclass(OutOfMemoryError, AudioError)

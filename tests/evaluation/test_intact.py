"""Audio that cannot be decoded is a result; a disk that cannot be read is none, and nothing of it is kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastwhisper_compress.errors import AudioError, ResourceError
from fastwhisper_compress.evaluation import recordings, runner
from fastwhisper_compress.evaluation.intact import audio_digest, check_intact
from fastwhisper_compress.evaluation.suite import Suite, Utterance
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.audio_blocks import Gap


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(8000), 16_000)
    return path


def row_of(path, digest=None):
    return {"id": "u0", "audio": str(path), "sha256": digest or audio_digest(path), "language": "en"}


def failing_disk(monkeypatch, number):
    real = Path.open

    def open_(self, *arguments, **settings):
        if self.suffix == ".wav":
            raise OSError(number, os.strerror(number), str(self))
        return real(self, *arguments, **settings)

    monkeypatch.setattr(Path, "open", open_)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_disk_that_fails_ends_the_measurement(clip, monkeypatch, number):
    row = row_of(clip)
    failing_disk(monkeypatch, number)
    with pytest.raises(ResourceError, match="cannot be read") as caught:
        runner._clip(read_audio, row)
    assert (caught.value.exit_code, caught.value.place) == (6, str(clip))
    assert "kept" in caught.value.remedy
    with pytest.raises(ResourceError):
        list(hear([row]))


def test_a_file_that_changes_meanwhile_is_not_judged(clip):
    row = row_of(clip)
    clip.write_bytes(b"something else")
    with pytest.raises(ResourceError, match="no longer the file"):
        runner._clip(read_audio, row)
    clip.unlink()
    with pytest.raises(ResourceError, match="no longer the file"):
        runner._clip(read_audio, row)


def test_a_failure_that_passes_leaves_no_trace(clip):
    calls = []

    def once(path):
        calls.append(path)
        if len(calls) == 1:
            raise AudioError("cannot be decoded: System error")
        return read_audio(path)

    assert len(runner._clip(once, row_of(clip)).samples) == 8000
    assert len(calls) == 2


def test_audio_that_is_broken_or_missing_fails_for_good(tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"not audio")
    assert isinstance(runner._clip(read_audio, row_of(broken)), AudioError)
    missing = tmp_path / "missing.wav"
    assert audio_digest(missing) is None
    assert isinstance(runner._clip(read_audio, row_of(missing)), AudioError)
    assert [one["error"] is None for one in hear([row_of(broken), row_of(missing)])] == [False, False]
    check_intact(missing, None)


def test_a_recording_that_is_not_read_twice_alike_is_not_judged(clip, monkeypatch):
    monkeypatch.setattr(recordings, "_windows", lambda *_: ([], (Gap(0.1, 0.2, "torn"),)))
    with pytest.raises(ResourceError, match="twice alike"):
        list(hear([row_of(clip)]))


def hear(rows):
    class Deaf:
        def check(self, samples):
            pass

    return recordings.hear_recordings(Deaf(), rows, words=False, batch_size=1, on_shrink=lambda *_: None, warm_up=False)


def test_a_suite_that_cannot_be_read_has_no_digest(clip, tmp_path, monkeypatch):
    rows = [Utterance(str(i), path, "", None, "en", None) for i, path in enumerate((clip, tmp_path / "missing.wav"))]
    suite = Suite("x", "en", False, "", "", None, tuple(rows))
    assert suite.audio_digests == (audio_digest(clip), None)
    assert suite.digest.startswith("sha256:")
    failing_disk(monkeypatch, errno.EIO)
    with pytest.raises(ResourceError):
        _ = Suite("x", "en", False, "", "", None, tuple(rows)).digest

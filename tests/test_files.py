"""A file is written whole or not at all, and what a killed process leaves of it goes."""

from __future__ import annotations

import os
import signal

import pytest

from fastwhisper_compress import files
from fastwhisper_compress.errors import OutputError, ResourceError
from fastwhisper_compress.files import sweep, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed_while_writing(path):
    child = os.fork()
    if not child:
        files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write_text(path, "half")
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_what_a_killed_process_leaves_is_swept(tmp_path):
    path = write_text(tmp_path / "talk.srt", "old")
    for one in (path, path, tmp_path / "other.srt"):
        killed_while_writing(one)
    strangers = [".talk.srt.tmp", ".talk.srt.12345678.bak", "talk.srt.abcdefgh.tmp", ".talk.srt.abcdefghi.tmp"]
    for name in strangers:
        (tmp_path / name).touch()
    assert len(names(tmp_path)) == 4 + len(strangers)
    sweep([path, tmp_path / "new.srt", tmp_path / "missing" / "x"])
    left = set(names(tmp_path)) - set(strangers) - {"talk.srt"}
    assert [name.startswith(".other.srt.") for name in left] == [True]
    assert path.read_text() == "old"


def test_what_somebody_is_writing_is_not_swept(tmp_path, monkeypatch):
    path = tmp_path / "talk.srt"
    real = os.fsync

    def meanwhile(descriptor):
        sweep([path])
        assert len(names(tmp_path)) == 1
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", meanwhile)
    assert write_text(path, "whole").read_text() == "whole"
    assert names(tmp_path) == ["talk.srt"]


def test_what_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    path = tmp_path / "talk.srt"
    real, calls = files.lock, []

    def late(temporary):
        if not calls:
            temporary.unlink()
        calls.append(temporary)
        return real(temporary)

    monkeypatch.setattr(files, "lock", late)
    write_text(path, "whole")
    assert (names(tmp_path), len(calls)) == (["talk.srt"], 2)


@pytest.mark.parametrize(("number", "error"), [(28, ResourceError), (5, OutputError), (13, OutputError)])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, number, error):
    path = write_text(tmp_path / "talk.srt", "old")

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(error):
        write_text(path, "new")
    assert (names(tmp_path), path.read_text()) == (["talk.srt"], "old")

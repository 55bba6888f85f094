"""An output folder that is replaced in one step: at no moment is there none, whenever the process ends."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from fastwhisper_compress.pipeline import exchange as module
from fastwhisper_compress.pipeline import publish
from fastwhisper_compress.pipeline.exchange import exchange
from fastwhisper_compress.pipeline.publish import publishing


@pytest.fixture
def earlier(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("old")
    if not exchange(folder, folder):
        pytest.skip("neither this system nor this file system can exchange two folders")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def publish_new(folder):
    with publishing(folder) as draft:
        (draft / "new").write_text("new")


def killed_in(folder, event, number):
    """Publish in a fork that is killed at the n-th audit event of a kind; return whether it came to that."""
    child = os.fork()
    if not child:
        seen = []

        def hook(name, _):
            if name == event:
                seen.append(name)
                if len(seen) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            publish_new(folder)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("event", ["os.rename", "shutil.rmtree", "os.remove", "os.rmdir", "open"])
def test_a_folder_is_there_wherever_the_process_is_killed(earlier, event):
    kills = 0
    while killed_in(earlier, event, kills + 1):
        kills += 1
        assert names(earlier) in (["old"], ["new"])
        publish_new(earlier)
        assert names(earlier) == ["new"]
        assert names(earlier.parent) == ["out"], "what the killed process left is swept"
        (earlier / "new").unlink()
        (earlier / "old").write_text("old")
    assert kills


def test_the_two_change_places(earlier):
    other = earlier.with_name("other")
    other.mkdir()
    assert exchange(earlier, other)
    assert (names(earlier), names(other)) == ([], ["old"])


def test_a_failure_is_told_and_moves_nothing(earlier, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        exchange(earlier, tmp_path / "missing")
    assert (caught.value.filename, caught.value.filename2) == (str(earlier), str(tmp_path / "missing"))
    assert names(earlier) == ["old"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()])
def test_an_exchange_cut_short_loses_neither_folder(earlier, monkeypatch, after, error):
    def cut_short(one, other):
        if after:
            exchange(one, other)
        raise error

    monkeypatch.setattr(publish, "exchange", cut_short)
    with pytest.raises(type(error)):
        publish_new(earlier)
    assert names(earlier) == ["new" if after else "old"]
    assert names(earlier.parent) == ["out"]


@pytest.mark.parametrize("number", [None, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_where_it_cannot_be_done_the_two_steps_are_announced(earlier, monkeypatch, caplog, number):
    def call(*_):
        module.ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(module, "_renameat2", lambda: None if number is None else call)
    with caplog.at_level(logging.WARNING):
        publish_new(earlier)
    assert names(earlier) == ["new"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{earlier} is replaced in two steps: its file system cannot do it in one"
    ]


def test_a_new_folder_needs_no_exchange(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "exchange", None)
    publish_new(Path(tmp_path, "out"))
    assert names(tmp_path / "out") == ["new"]

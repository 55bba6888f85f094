"""Locks: who waits for whom, what is locked where it was replaced meanwhile, and file systems that have none."""

from __future__ import annotations

import errno
import os
import threading

import pytest

fcntl = pytest.importorskip("fcntl")

from fastwhisper_compress.locks import lock  # noqa: E402 - not where there are no locks


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "locked"
    place.write_text("")
    return place


def test_one_has_it_and_another_is_told(path):
    first = lock(path)
    assert first.ours is True
    second = lock(path, wait=False)
    assert second.ours is False
    assert lock(path, wait=False, shared=True).ours is False
    first.release()
    first.release()
    assert lock(path, wait=False).ours is True


def test_those_who_share_it_have_it_together(path):
    held = [lock(path, shared=True), lock(path, shared=True, wait=False)]
    assert [one.ours for one in held] == [True, True]
    assert lock(path, wait=False).ours is False


def test_who_does_not_say_otherwise_waits(path):
    held = lock(path)
    got = []
    waiter = threading.Thread(target=lambda: got.append(lock(path)))
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()
    held.release()
    waiter.join(10)
    assert [one.ours for one in got] == [True]


def test_what_was_replaced_while_waiting_is_locked_anew(path):
    held = lock(path)
    got = []
    waiter = threading.Thread(target=lambda: got.append(lock(path)))
    waiter.start()
    waiter.join(0.1)
    path.unlink()
    path.write_text("new")
    held.release()
    waiter.join(10)
    assert got[0].ours is True
    assert lock(path, wait=False).ours is False


def test_a_lock_that_is_forgotten_is_given_up(path):
    lock(path)
    assert lock(path, wait=False).ours is True


def test_nothing_is_made_unless_that_is_asked(tmp_path):
    with pytest.raises(FileNotFoundError):
        lock(tmp_path / "none")
    before = os.umask(0)
    try:
        held = lock(tmp_path / "new", create=True)
    finally:
        os.umask(before)
    assert held.ours is True
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_error(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert lock(path).ours is None


def test_another_error_is_raised_and_leaves_nothing_open(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    n_open = len(os.listdir("/dev/fd")) if os.path.exists("/dev/fd") else None  # noqa: PTH110, PTH208
    with pytest.raises(OSError, match="no"):
        lock(path)
    if n_open is not None:
        assert len(os.listdir("/dev/fd")) == n_open  # noqa: PTH208


def test_where_folders_cannot_be_opened_nothing_is_locked(tmp_path, monkeypatch):
    real = os.open

    def windows(path, *args):
        if os.path.isdir(path):  # noqa: PTH112 - as it is given
            raise PermissionError(errno.EACCES, "no")
        return real(path, *args)

    monkeypatch.setattr("fastwhisper_compress.locks.sys.platform", "win32")
    monkeypatch.setattr(os, "open", windows)
    with pytest.raises(FileNotFoundError):
        lock(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    held = [lock(tmp_path), lock(tmp_path / "new", create=True)]
    assert [one.ours for one in held] == [None, None]
    assert (tmp_path / "new").exists()
    for one in held:
        one.release()

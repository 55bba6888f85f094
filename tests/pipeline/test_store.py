"""Stages are there whole or not at all, whoever makes them and however that ends."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastwhisper_compress.errors import GateError, OutputError, ResourceError
from fastwhisper_compress.pipeline import publish
from fastwhisper_compress.pipeline.files import read_json, resources
from fastwhisper_compress.pipeline.publish import publishing
from fastwhisper_compress.pipeline.store import Store

MAKER = """
import os, sys, time
from pathlib import Path
from fastwhisper_compress.pipeline.store import Store

def make(folder):
    with open(sys.argv[2], "a") as log:
        log.write(f"{os.getpid()}\\n")
    (folder / "a").write_text("half")
    time.sleep(float(sys.argv[3]))
    (folder / "a").write_text("whole")

print(Store(Path(sys.argv[1])).stage("thing", {"x": 1}, make))
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def kept(store, kind="thing"):
    folder = store.root / kind
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def writes(text):
    return lambda folder: (folder / "a").write_text(text)


def fails_with(error):
    def make(folder):
        (folder / "old").write_text("half")
        raise error

    return make


def test_what_goes_in_names_the_stage(store):
    path = store.path("thing", {"a": 1, "b": [2, {"c": "ä"}]})
    assert store.path("thing", {"b": [2, {"c": "ä"}], "a": 1}) == path
    others = [store.path("thing", {"a": 1, "b": value}) for value in ([2, {"c": "a"}], [2], None)]
    assert len({path, store.path("other", {"a": 1, "b": [2, {"c": "ä"}]}), *others}) == 5


def test_a_stage_is_made_once(store):
    first = store.stage("thing", {"x": 1}, writes("one"))
    again = store.stage("thing", {"x": 1}, fails_with(AssertionError("made again")))
    other = store.stage("thing", {"x": 2}, writes("two"))
    assert first == again == store.path("thing", {"x": 1})
    assert [(folder / "a").read_text() for folder in (first, other)] == ["one", "two"]
    sealed = read_json(first / "stage.json")
    assert (sealed["kind"], sealed["spec"]) == ("thing", {"x": 1})
    status = (first / "a").stat()
    digest = hashlib.sha256(b"one").hexdigest()
    assert sealed["files"] == {"a": {"bytes": 3, "mtime_ns": status.st_mtime_ns, "sha256": digest}}


def test_a_stage_appears_only_when_it_is_whole(store):
    final = store.path("thing", {"x": 1})
    seen = []
    store.stage("thing", {"x": 1}, lambda folder: seen.append((folder != final, final.exists())))
    assert seen == [(True, False)]
    assert kept(store) == [final.name]


@pytest.mark.parametrize("error", [ValueError("x"), GateError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_keeps_nothing_and_the_next_call_makes_it(store, error):
    with pytest.raises(type(error)):
        store.stage("thing", {"x": 1}, fails_with(error))
    assert kept(store) == []
    assert (store.stage("thing", {"x": 1}, writes("whole")) / "a").read_text() == "whole"


def test_makers_in_several_processes_end_with_one_stage(store, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", MAKER, str(store.root), str(log), "0.5"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    final = store.path("thing", {"x": 1})
    assert printed == {str(final)}
    assert kept(store) == [final.name]
    assert (final / "a").read_text() == "whole"
    assert len(log.read_text().splitlines()) == 1


def test_a_killed_maker_blocks_nobody(store, tmp_path):
    log = tmp_path / "log"
    process = subprocess.Popen([sys.executable, "-c", MAKER, str(store.root), str(log), "60"])
    while not log.exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    assert not store.path("thing", {"x": 1}).exists()
    assert (store.stage("thing", {"x": 1}, writes("whole")) / "a").read_text() == "whole"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_full_or_closed_disk_is_a_resource_error(store, number):
    error = OSError(number, os.strerror(number), "/x/weights.bin")
    with pytest.raises(ResourceError, match="cannot read or write") as caught:
        store.stage("thing", {"x": 1}, fails_with(error))
    assert caught.value.exit_code == 6
    assert caught.value.place == "/x/weights.bin"
    assert "FASTWHISPER_CACHE" in caught.value.remedy
    assert kept(store) == []


def test_an_error_that_names_no_file_is_placed_at_the_store(store):
    with pytest.raises(ResourceError) as caught:
        store.stage("thing", {"x": 1}, fails_with(OSError(errno.EIO, "broken")))
    assert caught.value.place == str(store.root)


def test_a_stage_in_a_store_that_can_only_be_read_is_used(store, monkeypatch):
    final = store.stage("thing", {"x": 1}, writes("whole"))

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert Store(store.root).stage("thing", {"x": 1}, fails_with(AssertionError("made again"))) == final


def test_the_faster_of_two_makers_counts_where_there_are_no_locks(store, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOTSUP, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)

    def slow(folder):
        Store(store.root).stage("thing", {"x": 1}, writes("faster"))
        (folder / "a").write_text("slower")

    final = store.stage("thing", {"x": 1}, slow)
    assert (final / "a").read_text() == "faster"
    assert kept(store) == [final.name]


def test_a_stage_that_cannot_be_moved_into_place_is_a_resource_error(store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ResourceError, match="cannot read or write: broken"):
        store.stage("thing", {"x": 1}, writes("whole"))
    assert kept(store) == []


def test_a_real_limit_of_the_file_size_is_a_resource_error(store):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ResourceError, match="File too large"):
            store.stage("thing", {"x": 1}, writes("x" * 200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept(store) == []


def test_a_store_that_is_a_file_is_a_resource_error(tmp_path):
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(ResourceError, match="cannot read or write"):
        Store(tmp_path / "cache" / "stages").stage("thing", {}, writes("x"))
    assert (tmp_path / "cache").read_text() == "mine"


def test_only_what_the_disk_refuses_becomes_a_resource_error():
    for error in (
        FileNotFoundError(errno.ENOENT, "a bug"),
        OutputError("ours"),
        GateError("ours"),
        ValueError("a bug"),
    ):
        with pytest.raises(type(error)) as caught, resources(Path("x")):
            raise error
        assert caught.value is error
    with pytest.raises(ResourceError, match="out of memory"), resources(Path("x")):
        raise MemoryError


@pytest.fixture
def earlier(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


def beside(folder):
    return sorted(path.name for path in folder.parent.iterdir())


def test_publishing_replaces_the_whole_folder(earlier):
    with publishing(earlier) as draft:
        (draft / "new").write_text("new")
        assert (earlier / "old").read_text() == "old"
    assert [path.name for path in earlier.iterdir()] == ["new"]
    assert beside(earlier) == ["out"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError()])
def test_a_failed_draft_leaves_the_earlier_folder(earlier, error):
    with pytest.raises(type(error)), publishing(earlier) as draft:
        fails_with(error)(draft)
    assert (earlier / "old").read_text() == "old"
    assert beside(earlier) == ["out"]


@pytest.mark.parametrize("which", [1, 2], ids=["taking away the old one", "bringing in the new one"])
@pytest.mark.parametrize("moved", [False, True], ids=["before the move", "after the move"])
@pytest.mark.parametrize("error", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()])
def test_a_swap_in_two_steps_cut_short_loses_neither_folder(earlier, monkeypatch, which, moved, error):
    monkeypatch.setattr(publish, "exchange", lambda *_: False)
    real, calls = Path.rename, []

    def rename(self, target):
        calls.append(target)
        if len(calls) != which:
            return real(self, target)
        if moved:
            real(self, target)
        raise error

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(type(error)), publishing(earlier) as draft:
        (draft / "new").write_text("new")
    assert [path.name for path in earlier.iterdir()] == (["new"] if which == 2 and moved else ["old"])
    assert beside(earlier) == ["out"]


def test_publishing_through_a_link_replaces_what_it_points_to(earlier, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(earlier)
    with publishing(link) as draft:
        (draft / "new").write_text("new")
    assert link.is_symlink()
    assert (earlier / "new").read_text() == "new"
    assert beside(link) == ["link"]

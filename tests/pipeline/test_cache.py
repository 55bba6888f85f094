"""Damaged stages are never used, and making room takes nothing that is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fastwhisper_compress.errors import ResourceError
from fastwhisper_compress.locks import lock
from fastwhisper_compress.pipeline import cache
from fastwhisper_compress.pipeline.cache import clean, entries
from fastwhisper_compress.pipeline.files import read_json, write_json
from fastwhisper_compress.pipeline.publish import draft, publishing
from fastwhisper_compress.pipeline.store import Store

SPEC = {"x": 1}


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    return Store(tmp_path / "store", tell=said.append)


def made(store, spec=SPEC, text="whole", kind="thing"):
    def make(folder):
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text(text)
        (folder / "b").write_text("b")

    return store.stage(kind, spec, make)


def flipped(path):
    """Other bytes of the same number, at the same time."""
    status = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def sealed_as(folder, **changes):
    write_json(folder / "stage.json", read_json(folder / "stage.json") | changes)


def unlisted(folder):
    sealed = read_json(folder / "stage.json")
    write_json(folder / "stage.json", {key: sealed[key] for key in ("kind", "spec")})


DAMAGE = {
    "cut short": (lambda folder: os.truncate(folder / "sub" / "a", 3), "sub/a is not what was written"),
    "longer": (lambda folder: (folder / "b").write_text("bb"), "b is not what was written"),
    "other bytes": (lambda folder: (folder / "b").write_text("c"), "b is not what was written"),
    "missing": (lambda folder: (folder / "sub" / "a").unlink(), "sub/a is missing"),
    "a link": (
        lambda folder: [(folder / "b").rename(folder.parent / "b"), (folder / "b").symlink_to(folder.parent / "b")],
        "b is not what was written",
    ),
    "one more": (lambda folder: (folder / "c").write_text("c"), "c does not belong to it"),
    "a broken link more": (lambda folder: (folder / "c").symlink_to("nowhere"), "c does not belong to it"),
    "no list": (lambda folder: (folder / "stage.json").unlink(), "stage.json is missing"),
    "half a list": (lambda folder: os.truncate(folder / "stage.json", 40), "stage.json is not a list of files"),
    "an old list": (unlisted, "stage.json is not a list of files"),
    "a list of nothing": (lambda folder: sealed_as(folder, files=None), "stage.json is not a list of files"),
    "another spec": (lambda folder: sealed_as(folder, spec={"x": 2}), "stage.json is that of another stage"),
    "another kind": (lambda folder: sealed_as(folder, kind="other"), "stage.json is that of another stage"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_stage_is_made_again_and_that_is_said(store, said, what):
    folder = made(store)
    harm, words = DAMAGE[what]
    harm(folder)
    assert [one.damage for one in entries(store)] == [words]
    assert made(store) == folder
    assert (folder / "sub" / "a").read_text() == "whole"
    assert sorted(path.name for path in folder.iterdir()) == ["b", "stage.json", "sub"]
    assert said == [f"thing {folder.name} is damaged and made again: {words}"]
    assert entries(store)[0].damage is None


def test_the_same_size_and_time_are_trusted_unless_every_byte_is_asked_for(store, said):
    folder = made(store)
    flipped(folder / "b")
    assert made(store, text="never made") == folder
    assert not said
    assert [one.damage for one in entries(store)] == [None]
    assert [one.damage for one in entries(store, every_byte=True)] == ["b is not what was written"]
    made(Store(store.root, tell=said.append, every_byte=True))
    assert (folder / "b").read_text() == "b"
    assert len(said) == 1


def test_a_copied_store_is_used(store, said):
    folder = made(store)
    written = (folder / "b").stat().st_mtime_ns
    os.utime(folder / "b", (1, 1))
    assert made(store, text="never made") == folder
    assert not said
    assert (folder / "b").stat().st_mtime_ns == written, "the next look is quick again"


def test_a_disk_that_keeps_nothing_is_said_to_be_at_fault(store, monkeypatch):
    monkeypatch.setattr("fastwhisper_compress.pipeline.store.damage", lambda *_, **__: "b is not what was written")
    with pytest.raises(ResourceError, match="made again in vain") as caught:
        made(store)
    assert caught.value.place == str(store.path("thing", SPEC))


def test_a_stage_that_goes_while_it_is_looked_at_is_made_again(store, said, monkeypatch):
    folder = made(Store(store.root))
    gone = folder.with_name("gone")

    def late(path, **options):
        if path == folder and not gone.exists():
            folder.rename(gone)
        return lock(path, **options)

    monkeypatch.setattr("fastwhisper_compress.pipeline.store.lock", late)
    assert made(store, text="again") == folder
    assert (folder / "sub" / "a").read_text() == "again"
    assert not said


def test_stages_are_listed_by_use(store):
    made(store)
    time.sleep(0.02)
    made(store, {"x": 2}, text="longer text")
    time.sleep(0.02)
    made(store)
    found = entries(store)
    assert [one.name for one in found] == [store.path("thing", {"x": x}).name for x in (1, 2)]
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in
             (store.path("thing", {"x": x}) for x in (1, 2))]  # fmt: skip
    assert [one.size_on_disk_bytes for one in found] == sizes
    assert entries(Store(store.root / "none")) == []


def test_what_killed_processes_left_goes_and_what_live_ones_do_stays(store):
    final = made(store)
    dead = [final.with_name(f".{final.name}.{role}-abcd123_") for role in ("draft", "old")]
    for folder in dead:
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "half").write_text("half")
    with draft(store.path("thing", {"x": 2})) as live:
        (live / "half").write_text("half")
        removed = clean(store)
        assert (live / "half").exists()
    assert {one.path: one.why for one in removed if not one.path.startswith("locks/")} == {
        f"thing/{folder.name}": "left by a process that ended" for folder in dead
    }
    assert sum(one.size_on_disk_bytes for one in removed) == 8
    assert [path.name for path in final.parent.iterdir()] == [final.name]


def test_a_used_stage_outlives_every_limit(store):
    other = Store(store.root)
    used, unused = made(store), made(other, {"x": 2})
    del other
    removed = clean(Store(store.root), unused_s=0, most_bytes=0)
    assert [one.path for one in removed if not one.path.startswith("locks/")] == [f"thing/{unused.name}"]
    assert used.is_dir()


def test_stages_beyond_a_limit_go_those_first_that_were_unused_for_longest(tmp_path):
    root = tmp_path / "store"
    folders = [made(Store(root), {"x": x}) for x in range(4)]
    for age_days, folder in enumerate(folders):
        os.utime(folder / "stage.json", (time.time() - 86_400 * age_days,) * 2)
    size = entries(Store(root))[0].size_on_disk_bytes
    assert clean(Store(root), most_bytes=4 * size)[:-4] == []
    removed = clean(Store(root), unused_s=2.5 * 86_400, most_bytes=round(2.5 * size))
    assert {one.path: one.why for one in removed} == {
        f"thing/{folders[2].name}": "the store is larger than it is to be",
        f"thing/{folders[3].name}": "not used for 3 days",
    }
    assert [folder.is_dir() for folder in folders] == [True, True, False, False]


def test_damaged_stages_go(store):
    folder = made(Store(store.root))
    flipped(folder / "b")
    assert not [one for one in clean(store) if one.path.startswith("thing")]
    removed = clean(store, every_byte=True)
    assert [one.why for one in removed if one.path.startswith("thing")] == ["damaged: b is not what was written"]
    assert entries(store) == []


@pytest.mark.parametrize("used", [False, True])
def test_what_was_mended_or_used_since_it_was_looked_at_stays(store, monkeypatch, used):
    folder = made(Store(store.root))
    old = time.time() - 10 * 86_400
    os.utime(folder / "stage.json", (old, old))
    if not used:
        (folder / "b").write_text("something else")
    looked = cache.entries

    def then_somebody_came(*args, **options):
        found = looked(*args, **options)
        made(Store(store.root))
        return found

    monkeypatch.setattr(cache, "entries", then_somebody_came)
    assert not [one for one in clean(store, unused_s=86_400) if one.path.startswith("thing")]
    assert folder.is_dir()


def test_unfinished_work_alone_is_cleaned_up(store):
    work = store.unfinished("thing", SPEC)
    work.mkdir(parents=True)
    assert [one.why for one in clean(store, unused_s=-1) if work.name in one.path] == ["not gone on with for 0 days"]
    assert not work.exists()


def test_unfinished_work_stays_beside_a_damaged_stage(store):
    folder = made(Store(store.root))
    work = store.unfinished("thing", SPEC)
    work.mkdir()
    (folder / "b").write_text("something else")
    clean(store)
    assert work.is_dir()
    assert not folder.exists()


def test_unfinished_work_stays_until_it_is_finished_or_old(store):
    work, other = (store.unfinished("thing", {"x": x}) for x in (1, 2))
    for folder in (work, other):
        folder.mkdir(parents=True)
        (folder / "rows").write_text("1")
    assert clean(store) == []
    made(store)
    assert not work.exists()
    work.mkdir()  # a process that was killed before it could remove it
    assert {one.path: one.why for one in clean(store) if "locks/" not in one.path} == {
        f"thing/{work.name}": "finished since"
    }
    assert [one.why for one in clean(store, unused_s=-1) if other.name in one.path] == ["not gone on with for 0 days"]


def test_locks_that_nobody_holds_go(store):
    made(store)
    held = lock(store.root / "locks" / "held", create=True)
    assert [one.why for one in clean(store)] == ["an old lock"]
    assert [path.name for path in (store.root / "locks").iterdir()] == ["held"]
    held.release()


def test_who_waits_for_a_lock_gets_the_file_that_is_there(tmp_path):
    path = tmp_path / "lock"
    first = lock(path, create=True)
    code = f"""
from pathlib import Path
from fastwhisper_compress.locks import lock
path = Path({str(path)!r})
held = lock(path, create=True)
print(path.exists(), held.ours)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.5)
        path.unlink()
        first.release()
        assert waiting.communicate()[0].split() == ["True", "True"]


def test_a_killed_swap_of_the_output_folder_is_undone(tmp_path):
    out = tmp_path / "out"
    left = tmp_path / ".out.old-abcdefgh" / "old"
    left.mkdir(parents=True)
    (left / "earlier").write_text("earlier")
    (tmp_path / ".out.draft-abcdefgh").mkdir()

    def fail():
        with publishing(out):
            assert (out / "earlier").read_text() == "earlier"
            raise ValueError("cut short")

    with pytest.raises(ValueError, match="cut short"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

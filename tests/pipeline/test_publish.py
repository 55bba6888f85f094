"""Drafts and what they replace: where they stand, whose they are, and what becomes of those a killed process left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fastwhisper_compress.locks import lock
from fastwhisper_compress.pipeline import publish
from fastwhisper_compress.pipeline.publish import discard, draft, left_over, publishing, remove


@pytest.fixture
def final(tmp_path):
    return tmp_path / "out"


def leftover(final, role, *names):
    """What a killed process leaves behind."""
    folder = final.with_name(f".{final.name}.{role}-abcd1234")
    (folder / "old").mkdir(parents=True) if role == "old" else folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_a_new_folder_is_published_where_there_was_none(final):
    with publishing(final) as folder:
        (folder / "a").write_text("new")
        assert not final.exists()
    assert (final / "a").read_text() == "new"
    assert [path.name for path in final.parent.iterdir()] == ["out"]


def test_what_a_move_sets_aside_is_named_as_left_over(final, monkeypatch):
    final.mkdir()
    seen = []
    monkeypatch.setattr(
        "fastwhisper_compress.pipeline.publish.shutil.rmtree",
        lambda folder, **_: seen.append((folder.name.rpartition("-")[0], folder in left_over(final.parent, "out"))),
    )
    remove(final)
    assert seen == [(".out.old", True)]
    final.mkdir()
    seen.clear()
    with publishing(final):
        pass
    assert (".out.old", True) in seen


def test_removing_what_is_gone_already_is_no_error(final):
    remove(final)
    assert list(final.parent.iterdir()) == []


def test_what_was_replaced_by_a_killed_process_comes_back(final):
    folder = leftover(final, "old", "old/a")
    with publishing(final) as new:
        assert (final / "old" / "a").exists() is False
        assert (final / "a").read_text() == "old/a"
        assert not folder.exists()
        (new / "b").write_text("new")
    assert [path.name for path in final.iterdir()] == ["b"]


def test_what_others_left_beside_it_stays(final):
    other = leftover(final.with_name("other"), "draft", "x")
    ours = leftover(final, "draft", "x")
    with publishing(final):
        assert other.exists()
        assert not ours.exists()


def test_nobody_waits_for_a_draft_that_somebody_is_at_work_on(final):
    ours = leftover(final, "draft", "x")
    held = lock(ours)
    with publishing(final):
        pass
    assert ours.exists()
    assert not discard(ours)
    held.release()
    assert discard(ours)
    assert not ours.exists()
    assert discard(ours) is False  # there is nothing any more


def test_left_over_are_folders_of_that_name_alone(final):
    folders = [leftover(final, "draft"), leftover(final, "old")]
    (final.parent / ".out.draft-file1234").write_text("")
    (final.parent / ".out.draft-TOOLONG12").mkdir()
    (final.parent / "x.out.draft-abcd1234").mkdir()
    assert left_over(final.parent) == left_over(final.parent, "out") == folders
    assert left_over(final.parent, "ou") == []


def test_a_draft_goes_unless_it_was_moved_away(final):
    with draft(final) as folder:
        assert folder.stat().st_mode & 0o777 == 0o755
        assert folder.parent == final.parent
    assert not folder.exists()
    with draft(final) as folder:
        folder.rename(final)
    assert final.exists()


def test_a_draft_that_was_taken_for_left_over_before_it_was_locked_is_made_anew(final, monkeypatch):
    taken = []

    def late(path, **options):
        if not taken:
            taken.append(path)
            shutil.rmtree(path)
        return lock(path, **options)

    monkeypatch.setattr(publish, "lock", late)
    with draft(final) as folder:
        assert folder.is_dir()
        assert folder not in taken
        assert not discard(folder)


def test_a_draft_that_cannot_be_locked_leaves_nothing(final, monkeypatch):
    def refuse(_):
        raise PermissionError("no")

    monkeypatch.setattr(publish, "lock", refuse)
    with pytest.raises(PermissionError, match="no"), draft(final):
        pass
    assert list(final.parent.iterdir()) == []


def test_what_a_swap_in_two_steps_sets_aside_is_named_as_left_over(final, monkeypatch):
    monkeypatch.setattr(publish, "exchange", lambda *_: False)
    real, seen = Path.rename, []

    def rename(self, target):
        seen.append([path.name.rpartition("-")[0] for path in left_over(final.parent, "out") if not final.exists()])
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    final.mkdir()
    with publishing(final) as folder:
        (folder / "a").write_text("new")
    assert seen == [[], [".out.draft", ".out.old"]]
    assert (final / "a").read_text() == "new"

"""What a stage is held against: names, sizes, times and hashes."""

from __future__ import annotations

import os

import pytest

from fastwhisper_compress.pipeline.seal import SEAL, damage, key, seal

SPEC = {"x": 1}


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "thing" / key(SPEC)
    (folder / "below").mkdir(parents=True)
    (folder / "a").write_text("whole")
    (folder / "below" / "b").write_text("too")
    seal(folder, "thing", SPEC)
    return folder


@pytest.mark.parametrize("every_byte", [False, True])
def test_what_was_written_has_no_damage(stage, every_byte):
    assert damage(stage, every_byte=every_byte) is None


def test_a_link_to_an_equal_file_is_not_what_was_written(stage, tmp_path):
    status = (stage / "a").stat()
    (stage / "a").rename(tmp_path / "elsewhere")
    (stage / "a").symlink_to(tmp_path / "elsewhere")
    os.utime(stage / "a", ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    assert damage(stage, every_byte=True) == "a is not what was written"
    # Also a link whose own length is that of the file.
    (stage / "a").unlink()
    (stage / "a").symlink_to("12345")
    os.utime(stage / "a", ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    assert damage(stage, every_byte=False) == "a is not what was written"


def test_another_size_is_seen_where_the_time_is_the_same(stage):
    status = (stage / "a").stat()
    (stage / "a").write_text("longer than it was")
    os.utime(stage / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert damage(stage, every_byte=False) == "a is not what was written"


def test_other_bytes_of_the_same_size_and_time_are_seen_only_when_all_are_hashed(stage):
    status = (stage / "a").stat()
    (stage / "a").write_text("wrong")
    os.utime(stage / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert damage(stage, every_byte=False) is None
    assert damage(stage, every_byte=True) == "a is not what was written"


def test_a_copy_is_hashed_once_and_then_has_its_time_again(stage):
    status = (stage / "a").stat()
    os.utime(stage / "a", ns=(7, 7))
    assert damage(stage, every_byte=False) is None
    assert (stage / "a").stat().st_mtime_ns == status.st_mtime_ns


def test_a_copy_whose_time_may_not_be_set_is_as_good(stage, monkeypatch):
    os.utime(stage / "a", ns=(7, 7))

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert damage(stage, every_byte=False) is None


def test_what_is_missing_or_too_much_is_named(stage):
    (stage / "below" / "b").unlink()
    assert damage(stage, every_byte=False) == "below/b is missing"
    (stage / "below" / "b").write_text("too")
    (stage / "c").write_text("")
    assert damage(stage, every_byte=False) == "c does not belong to it"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"files": []}', '{"files": {"a": {}}, "kind": "thing", "spec": {}}', "[" * 9_999],
)
def test_a_list_that_is_none_is_said_to_be_none(stage, text):
    (stage / SEAL).write_text(text)
    assert damage(stage, every_byte=False) == f"{SEAL} is not a list of files"


def test_the_list_of_another_stage_is_said_to_be_that(stage):
    seal(stage, "thing", {"x": 2})
    assert damage(stage, every_byte=False) == f"{SEAL} is that of another stage"
    seal(stage, "other", SPEC)
    assert damage(stage, every_byte=False) == f"{SEAL} is that of another stage"
    (stage / SEAL).unlink()
    assert damage(stage, every_byte=False) == f"{SEAL} is missing"
    assert damage(stage.parent / "nothing", every_byte=False) is not None


def test_a_stage_is_called_as_it_always_was():
    """Under another name, whatever stores hold would be made again."""
    assert key({"b": [1, {"c": "ä"}], "a": None}) == "b1463d1e944fb93d076bde7e23d243bc"

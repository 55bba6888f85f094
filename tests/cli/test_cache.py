"""What is kept is shown, explained, checked and cleaned."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def kept(cli, cache):
    """A cache with one small stage in it: the folder of that stage."""
    from fastwhisper_compress.pipeline.store import Store

    return Store(cache / "stages").stage("thing", {"x": 1}, lambda folder: (folder / "a").write_text("whole"))


def test_a_finished_run_explains_itself(cli, finished, model):
    run = ("run", "int8_dynamic", "--model", model, "--limit", 3, "--explain")
    stages = cli(*run, "--json").json
    assert [(one["side"], one["kind"]) for one in stages] == [
        (side, kind) for kind in ("artifact", "evaluation") for side in ("baseline", "candidate")
    ]
    assert all(one["cached"] and one["why"] is None for one in stages)
    changed = cli(*run, "-o", "gate.token_agreement=0.5", "-o", "threads=1")
    assert changed.code == 0
    lines = changed.out.splitlines()
    assert lines[0].endswith(": is there")
    assert "gate (0.9 -> 0.5)" in lines[1]
    assert "threads (" in lines[2]
    assert lines[3] == "candidate: evaluation: to be made: its artifact is to be made"


def test_the_first_run_explains_itself(cli, model, cache):
    done = cli("run", "int4_weight_only", "--model", model, "--limit", 3, "--explain", "--json")
    assert [(one["kind"], one["why"]) for one in done.json] == [
        *((kind, "no other of its kind was made yet") for kind in ("artifact", "calibration", "artifact")),
        *(("evaluation", "its artifact is to be made") for _ in range(2)),
    ]
    assert list(cache.rglob("*")) == []


def test_stages_are_listed(cli, kept):
    listed = cli("cache", "ls", "--json").json
    assert [(one["kind"], one["name"], one["damage"]) for one in listed["stages"]] == [("thing", kept.name, None)]
    assert kept.name[:12] in cli("cache", "ls").out


def test_damage_is_found_and_removed(cli, kept):
    assert cli("cache", "verify").code == 0
    status = (kept / "a").stat()
    (kept / "a").write_text("wrong")
    os.utime(kept / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "damaged" not in cli("cache", "ls").out
    found = cli("cache", "verify", "--json")
    assert found.code == 5
    assert found.json["stages"][0]["damage"] == "a is not what was written"
    assert "cache gc --verify" in found.err
    removed = cli("cache", "gc", "--verify", "--json").json["removed"]
    assert [one["path"] for one in removed if one["path"].startswith("thing")] == [f"thing/{kept.name}"]
    assert not kept.exists()
    assert cli("cache", "verify").code == 0


def test_room_is_made(cli, kept):
    assert cli("cache", "gc", "--unused-days", 1).out.count("old lock") == 1
    assert kept.exists()
    assert kept.name in cli("cache", "gc", "--max-mb", 0).out
    assert not kept.exists()


def test_an_empty_cache(cli, cache):
    for command in ("ls", "verify", "gc"):
        assert cli("cache", command).code == 0
    assert list(cache.iterdir()) == []

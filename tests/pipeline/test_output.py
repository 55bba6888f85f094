"""What may be an output folder is decided before any work, and without touching anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastwhisper_compress.errors import OutputError
from fastwhisper_compress.pipeline.output import check_output
from fastwhisper_compress.runtime.manifest import FORMAT


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def earlier_run(folder):
    for name in ("onnx/encoder.onnx", "tokenizer.json", "results.json", "report.html", "eval/baseline.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    files = [{"path": name} for name in ("onnx/encoder.onnx", "tokenizer.json")]
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": files}))
    return folder


def refused(folder, *words):
    with pytest.raises(OutputError) as caught:
        check_output(folder)
    error = caught.value
    assert error.exit_code == 2
    assert error.place == f"--out {folder}"
    assert error.remedy
    for word in words:
        assert word in error.message


@pytest.mark.parametrize("name", ["new", "a/b/c"])
def test_a_new_folder_is_accepted_and_not_yet_made(here, name):
    check_output(Path(name))
    assert list(here.iterdir()) == []


def test_an_empty_folder_and_an_earlier_run_are_accepted(here):
    (here / "empty").mkdir()
    check_output(here / "empty")
    check_output(earlier_run(here / "run"))
    (here / "link").symlink_to(here / "run")
    check_output(here / "link")


@pytest.mark.parametrize("name", ["thesis.txt", ".git/HEAD", "manifest.json", "empty folder/"])
def test_a_foreign_folder_is_refused(here, name):
    path = here / "mine" / name
    path.parent.mkdir(parents=True)
    path.mkdir() if name.endswith("/") else path.write_text("[]")
    refused(here / "mine", "no run has written", name.split("/")[0])


@pytest.mark.parametrize("name", ["notes.txt", "onnx/mine.onnx", "eval/more/x"])
def test_an_earlier_run_with_something_of_the_users_in_it_is_refused(here, name):
    run = earlier_run(here / "run")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("mine")
    refused(run, "no run has written", str(Path(name).parent if "more" in name else name))


@pytest.mark.parametrize(
    "manifest",
    ["", "null", "[]", "{}", '{"format": "other", "files": []}', json.dumps({"format": FORMAT}), "\ud800"],
)
def test_a_manifest_that_is_not_ours_makes_no_run(here, manifest):
    run = earlier_run(here / "run")
    (run / "manifest.json").write_bytes(manifest.encode("utf-8", "surrogatepass"))
    refused(run, "no run has written")


def test_a_file_in_the_way_is_refused(here):
    (here / "file").write_text("mine")
    refused(here / "file", "is a file")
    refused(here / "file" / "below" / "it", "cannot be written")
    assert (here / "file").read_text() == "mine"


def test_a_place_where_nothing_can_be_written_is_refused():
    refused(Path("/proc/fastwhisper/out"), "cannot be written")


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_folder_that_cannot_be_swapped_is_refused(here, name):
    refused(Path(name), "working folder")


def test_a_loop_of_links_is_refused(here):
    (here / "loop").symlink_to(here / "loop")
    refused(here / "loop", "cannot be written")

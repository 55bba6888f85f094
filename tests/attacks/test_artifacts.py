"""Artifacts come from strangers: what is hostile is refused before a runtime reads it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import soundfile
from artifact_files import FILES
from terminal import terminal

from fastwhisper_compress.runtime.graph_file import check_graph

ALLOWANCE = 256_000_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of sound."""
    path = tmp_path_factory.mktemp("sound") / "clip.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(8_000) / 9), 16_000)
    return path


def spoiled(innocent, folder, name):
    copy = shutil.copytree(innocent, folder / "artifact")
    FILES[name](copy)
    return copy


@pytest.fixture(scope="module")
def endings(attacked, innocent_artifact, clip, tmp_path_factory):
    """How `transcribe` ended with each of the artifacts."""
    plainly = ["--no-vad", "--timestamps", "none"]
    commands = {}
    for name in FILES:
        folder = str(spoiled(innocent_artifact, tmp_path_factory.mktemp("attack"), name))
        commands[name] = (["transcribe", folder, str(clip), *plainly], folder)
    innocent = ["transcribe", str(innocent_artifact), str(clip), *plainly]
    commands["nothing at all"] = (innocent, str(innocent_artifact))
    return attacked(commands, [innocent])


def test_what_is_spoiled_was_not_refused_before(endings):
    assert endings["nothing at all"]["code"] == 0, endings["nothing at all"]["said"]
    assert len(FILES) >= 20


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_artifact_is_refused(endings, name):
    found = endings[name]
    assert found["code"] == 5, found["said"][-2000:]
    message = found["said"].partition("error: ")[2]
    assert "\n  remedy: " in message
    assert len(message) < 2000
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", message)
    assert found["grown"] < found["size"] + ALLOWANCE


def listed(folder):
    """Have the manifest list the files as they are."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    manifest["files"] = [
        {"path": path.relative_to(folder).as_posix(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in files
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


@pytest.fixture
def suite(clip, tmp_path):
    """A manifest of one clip."""
    path = tmp_path / "suite.jsonl"
    path.write_text(json.dumps({"audio_filepath": str(clip), "text": "the"}))
    return path


def test_what_measures_refuses_the_same(innocent_artifact, suite, tmp_path):
    folder = spoiled(innocent_artifact, tmp_path, "external data: at an absolute path")
    listed(folder)
    done = terminal("eval", folder, "--suite", suite, cwd=tmp_path, FASTWHISPER_CACHE=str(tmp_path / "cache"))
    done.refused(5, "encoder.onnx", "/etc/passwd")


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        ({"path": "onnx/encoder.onnx", "sha256": "0" * 64}, "not the file that the manifest describes"),
        ({"path": "../outside", "sha256": "0" * 64}, "leaves the artifact"),
        ({"path": "/dev/zero", "sha256": "0" * 64}, "leaves the artifact"),
        ({"path": "x" * 5000, "sha256": "0" * 64}, "no name that a file can have"),
        ({"path": "a\0b", "sha256": "0" * 64}, "no name that a file can have"),
        ({"path": ["onnx"]}, "does not list its files"),
        ("onnx/encoder.onnx", "does not list its files"),
    ],
    ids=range(7),
)
def test_a_list_of_files_that_lies(cli, innocent_artifact, suite, tmp_path, lie, word):
    folder = shutil.copytree(innocent_artifact, tmp_path / "artifact")
    (tmp_path / "outside").write_text("mine")
    manifest = listed(folder)
    manifest["files"].insert(0, lie)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    cli("eval", folder, "--suite", suite).refused(5, word)


def test_openvino_is_not_given_what_onnx_runtime_is_not(cli, innocent_artifact, clip, tmp_path):
    pytest.importorskip("openvino")
    folder = spoiled(innocent_artifact, tmp_path, "external data: at an absolute path")
    cli("transcribe", folder, clip, "--backend", "openvino").refused(5, "encoder.onnx", "/etc/passwd")


def test_an_output_folder_of_deep_lists_is_nobody_of_ours(cli, hf, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("[" * 200_000)
    cli("run", "fp32", "--model", hf, "--out", tmp_path / "out").refused(2, "holds what no run has written")


def test_all_that_is_written_here_passes(innocent_artifact):
    for graph in (innocent_artifact / "onnx").glob("*.onnx"):
        check_graph(graph)

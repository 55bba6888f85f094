"""Names lead nowhere: whatever a model, an utterance or a language is called, nothing is written where nobody asked for it."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import soundfile
from terminal import snapshot, terminal

MODELS = [
    "../../etc/passwd",
    "..",
    "/",
    "",
    " ",
    "openai/../../whisper-tiny",
    "a/../../../b",
    "openai/whisper-tiny/../../..",
    "~nobody-at-all/x",
    "x" * 5000,
    "openai/" + "x" * 5000,
    "a\nb",
    "a\x1b[2Jb",
    "openai/\u202etxt.exe",
    "\udcff",
    "a\0b",
    "a\\..\\b",
    "models--openai--x",
    "-o",
]


@pytest.mark.parametrize("model", MODELS, ids=ascii)
def test_a_model_of_a_name_that_leads_elsewhere(cli, tmp_path, model):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"version: 1\nname: mine\nmodel: {json.dumps(model)}\npasses: []\n")
    before = snapshot(tmp_path)
    for command in (["run", recipe], ["plan", recipe], ["validate", recipe]):
        done = cli(*command)
        assert done.code in (2, 5, 6), done.err
        assert "Traceback" not in done.err
        assert "\n  remedy: " in done.err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".x", "", "x" * 81, "a\nb", "A", "x\0", "\u202ex", "a b", "-o", "x\n"], ids=ascii
)
def test_a_recipe_of_a_name_that_leads_elsewhere(cli, tmp_path, hf, name):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"version: 1\nname: {json.dumps(name)}\npasses: []\n")
    before = snapshot(tmp_path)
    cli("run", recipe, "--model", hf).refused(2, "mine.yaml:2:7")
    assert snapshot(tmp_path) == before


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of sound."""
    path = tmp_path_factory.mktemp("sound") / "clip.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(8_000) / 9), 16_000)
    return path


@pytest.mark.parametrize("language", ["../../x", "en/../x", "", "x" * 5000, "\x1b[2J", "\udcff", "en\n"], ids=ascii)
def test_a_language_that_leads_elsewhere(cli, innocent_artifact, clip, tmp_path, language):
    before = snapshot(tmp_path)
    done = cli("transcribe", innocent_artifact, clip, "--language", language, "--no-vad", "--out", "out")
    if language:  # none at all is detected
        done.refused(2)
    assert "Traceback" not in done.err
    assert {name for name in snapshot(tmp_path).keys() - before.keys() if not name.startswith("here/out")} == set()


IDS = [
    "../../../pwned",
    "/tmp/pwned",
    "a\0b",
    "x" * 5000,
    "a\nb",
    "\ud800",
    "<script>",
    "..",
    "\u202etxt",
    "con",
    "a\x1b[2J",
]


def test_utterances_of_names_that_lead_elsewhere_are_measured_and_write_nothing(innocent_artifact, clip, tmp_path):
    folder = shutil.copytree(innocent_artifact, tmp_path / "artifact")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": []}))
    here = tmp_path / "here"
    here.mkdir()
    rows = [{"audio_filepath": str(clip), "text": "a cat", "id": one, "speaker": one} for one in IDS]
    rows += [{"audio_filepath": name, "text": "a cat"} for name in ("y" * 5000, "../" * 50 + "etc/passwd")]
    (here / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = snapshot(tmp_path)
    done = terminal("eval", folder, "--suite", "suite.jsonl", cwd=here, FASTWHISPER_CACHE=str(tmp_path / "cache"))
    assert done.code == 0, done.err
    assert done.err.count("failed: ") == 2
    after = snapshot(tmp_path)
    assert {name for name in after.keys() - before.keys() if not name.startswith("cache")} == set()
    assert before.items() <= after.items()
    kept = next(value for name, value in after.items() if name.endswith("rows.jsonl"))
    assert [json.loads(line)["id"] for line in kept.decode().splitlines()][: len(IDS)] == IDS


def test_audio_of_a_name_with_a_nul_is_refused_at_its_line(cli, innocent_artifact, tmp_path):
    (tmp_path / "suite.jsonl").write_text(json.dumps({"audio_filepath": "a\0b.wav", "text": "a cat"}) + "\n")
    cli("eval", innocent_artifact, "--suite", tmp_path / "suite.jsonl").refused(2, "suite.jsonl:1", "no name that")


def test_folders_of_any_bytes_and_recordings_of_odd_names_stay_where_they_are_named(innocent_artifact, clip, tmp_path):
    folder, name = os.fsdecode(b"caf\xe9 .."), "a \x1b[2J.."
    shutil.copyfile(clip, tmp_path / f"{name}.wav")
    done = terminal(
        "transcribe", innocent_artifact, f"{name}.wav", "--no-vad", "--out", f"{folder}/below", cwd=tmp_path
    )
    assert done.code == 0, done.err
    assert list(tmp_path.rglob("*.txt")) == [tmp_path / folder / "below" / f"{name}.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {folder, f"{name}.wav"}

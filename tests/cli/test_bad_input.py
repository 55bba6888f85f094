"""Every mistake a user can make ends with its place, a remedy and the documented code, and changes nothing."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file
from terminal import snapshot

from fastwhisper_compress.runtime.audio_pool import POOL

RECIPE = "version: 1\nname: mine\npasses:\n"


@pytest.fixture
def recipe(tmp_path):
    """A function: text -> the recipe file."""

    def recipe_(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return recipe_


@pytest.fixture
def copy(model, tmp_path):
    """A copy of the model to damage."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


BAD_RECIPES = {
    "unknown pass": ("  - pass: int9_dynamic\n", "mine.yaml:4:11", "int8_dynamic"),
    "unknown key": ("  - pass: fuse\n    target: ['*']\n", "mine.yaml:5:5", "targets"),
    "unknown top key": ("  - pass: fuse\nmodell: x\n", "mine.yaml:5:1", "model"),
    "wrong type": ("  - pass: weight_only\n    bits: four\n", "mine.yaml:5:11"),
    "wrong value": ("  - pass: weight_only\n    bits: 3\n", "mine.yaml:5:11", "4", "8"),
    "duplicate key": ("  - pass: fuse\n    pass: fp16\n", "mine.yaml:5:5", "pass"),
    "pattern without effect": (
        "  - pass: fp16\n    targets: ['encoder.layer.*']\n",
        "mine.yaml:5:15",
        "encoder.layer.*",
    ),
    "ignore without effect": ("  - pass: fp16\n    ignore: ['nothing']\n", "mine.yaml:5:14", "nothing"),
    "no YAML": ("  - pass: [\n", "mine.yaml:"),
    "two precisions": ("  - pass: fp16\n  - pass: int8_dynamic\n", "mine.yaml:5:", "ignore"),
}


@pytest.mark.parametrize("case", BAD_RECIPES)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_bad_recipe(refused, recipe, model, case, command):
    text, *words = BAD_RECIPES[case]
    refused([command, recipe(RECIPE + text), "--model", model], 2, *words)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "int8_dynamik"], 2, ["int8_dynamik", "int8_dynamic"]),
        (["run", "missing.yaml"], 2, ["missing.yaml"]),
        (["recipes", "show", "int9"], 2, ["int9"]),
        (["validate", "fp32", "--model", "nowhere/"], 2, ["nowhere/"]),
        (["validate", "fp32", "--model", "someone/whisper-nowhere"], 6, ["someone/whisper-nowhere"]),
        (["run", "fp32", "--model", "nowhere/model.pt"], 2, ["nowhere/model.pt"]),
        (["run", "fp32", "--suite", "demoo"], 2, ["demoo", "demo"]),
        (["run", "fp32", "--suite", "nowhere.jsonl"], 2, ["nowhere.jsonl"]),
        (["run", "int8_smooth", "--calibration", "demo"], 2, ["'names-01' is 'names-01'", "calibrate on other speech"]),
        (["run", "int8_smooth", "--calibration", "nowhere.jsonl"], 2, ["nowhere.jsonl"]),
        (["run", "fp32", "-o", "gate"], 2, ["key=value"]),
        (["run", "fp32", "-o", "passes.7.bits=4"], 2, ["-o passes.7.bits"]),
        (["run", "fp32", "-o", "gate.token_agreement=2"], 2, ["-o gate.token_agreement"]),
        (["run", "fp32", "--provider", "cuda"], 4, ["--provider cuda", "CUDAExecutionProvider"]),
        (["eval", "nowhere"], 2, ["nowhere", "manifest.json"]),
        (["transcribe", "nowhere", "x.wav"], 2, ["nowhere", "manifest.json"]),
        (["transcribe", "nowhere"], 2, ["FILES", "--stream"]),
        (["compare", "nowhere"], 2, ["nowhere"]),
    ],
)
def test_what_is_not_there(refused, arguments, code, words):
    refused(arguments, code, *words)


def test_options_are_text_even_where_yaml_sees_a_number(refused):
    refused(["run", "fp32", "--model", "123"], 2, "123", "no such file")
    refused(["run", "fp32", "--model", "[x]"], 2, "[x]", "no such file")
    refused(["run", "fp32", "--suite", "null"], 2, "null", "demo")
    assert "-o model" not in refused(["validate", "fp32", "--model", "null"], 2, "null").err


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def executing(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Exploit(folder / "owned")))


def reshaped(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.decoder.layers.0.fc1.weight"] = tensors["model.decoder.layers.0.fc1.weight"].T.copy()
    save_file(tensors, folder / "model.safetensors")


def not_a_number(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.encoder.layers.1.fc2.bias"][3] = np.nan
    save_file(tensors, folder / "model.safetensors")


def no_json(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, ["model.safetensors"]),
        (executing, ["pytorch_model.bin"]),
        (reshaped, ["decoder.layers.0.fc1.weight", "shape"]),
        (not_a_number, ["encoder.layers.1.fc2.bias", "NaN"]),
        (no_json, ["config.json"]),
    ],
)
def test_a_damaged_or_hostile_checkpoint(refused, cache, copy, damage, words):
    damage(copy)
    refused(["run", "fp32", "--model", copy], 5, *words)
    assert not (copy / "owned").exists()
    assert snapshot(cache) == {}


def test_a_foreign_output_folder_stays_byte_for_byte(refused, model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused(["run", "fp32", "--model", model, "--out", tmp_path / "mine"], 2, "--out", "thesis.txt")
    refused(["run", "fp32", "--model", model, "--out", tmp_path / "mine" / "thesis.txt"], 2, "is a file")
    refused(["run", "fp32", "--model", model, "--out", "/proc/out"], 2, "--out /proc/out", "cannot be written")
    refused(["compare", tmp_path, "--out", tmp_path / "mine"], 2)


def test_two_onnx_runtimes_are_refused(cli, refused, tmp_path, monkeypatch):
    for name in ("onnxruntime_gpu", "onnxruntime"):
        info = tmp_path / "site" / f"{name}-1.2.3.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    refused(["run", "fp32"], 4, "onnxruntime and onnxruntime-gpu", "pip uninstall")
    done = cli("doctor")
    assert done.code == 4
    assert "one problem found" in done.out
    assert "pip uninstall" in done.err
    done = cli("doctor", "--json")
    assert (done.code, "onnxruntime-gpu" in done.json["problem"]) == (4, True)


PLAINLY = ("--no-vad", "--timestamps", "none")  # what is in these files is no speech


@pytest.fixture
def sound(tmp_path):
    """Audio files of every kind of badness, and a good one."""
    folder = tmp_path / "sound"
    folder.mkdir()
    time = np.arange(16_000) / 16_000
    good = 0.1 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(folder / "good.wav", good, 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "no samples.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "long.wav", np.zeros(16_000 * 31), 16_000)
    soundfile.write(folder / "nan.wav", np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "corrupt.flac").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.wav", "empty file"),
        ("corrupt.flac", "cannot be decoded"),
        ("missing.wav", "no such file"),
        ("nan.wav", "not finite"),
        ("no samples.wav", "samples"),
        (".", "no such file"),
    ],
)
def test_audio_that_cannot_be_transcribed(refused, artifact, sound, name, words):
    refused(["transcribe", artifact, sound / name], 2, sound / name, words)


def test_one_bad_file_does_not_cost_the_others(cli, artifact, sound):
    names = ["good.wav", "corrupt.flac", "silent.wav"]
    done = cli("transcribe", artifact, "--json", *PLAINLY, *(sound / name for name in names))
    assert done.code == 2
    assert done.err.startswith(f"error: {sound / 'corrupt.flac'}: cannot be decoded")
    rows = done.json
    assert [(row["file"], row["duration_s"]) for row in rows] == [
        (str(sound / "good.wav"), 1.0),
        (str(sound / "silent.wav"), 1.0),
    ]
    assert all(row["text"] == "the" and row["segments"][0]["tokens"] == [262] for row in rows)
    done = cli("transcribe", artifact, *PLAINLY, sound / "good.wav")
    assert (done.code, done.out, done.err) == (0, "the\n", "")


def test_memory_of_a_transcription_is_shown_apart_from_the_text(cli, artifact, sound):
    done = cli("transcribe", artifact, "--memory", *PLAINLY, sound / "good.wav")
    assert (done.code, done.out) == (0, "the\n")
    phases = [line.split()[0] for line in done.err.splitlines()]
    assert phases == ["phase", "imports", "load", "log-mel", "encode", "prefill", "decode", "idle", "after"]
    done = cli("transcribe", artifact, "--memory", "--json", *PLAINLY, sound / "good.wav", sound / "corrupt.flac")
    assert done.code == 2
    assert [row["text"] for row in done.json["files"]] == ["the"]
    entries = {one["phase"]: one["entries"] for one in done.json["memory"]["phases"]}
    # So short a text for a second of sound is heard twice.
    assert entries == {"imports": 1, "load": 1, "idle": 3, "log_mel": 2, "encode": 2, "prefill": 2, "decode": 2}


@pytest.fixture
def without_pyav(tmp_path, monkeypatch):
    """Decode in a process that cannot import it."""
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding" / "av.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hiding"))
    POOL.close()
    yield
    POOL.close()


@pytest.mark.usefixtures("without_pyav")
def test_a_file_that_needs_a_missing_package_does_not_cost_the_others(cli, artifact, sound):
    (sound / "phone.m4a").write_bytes(b"anything")
    names = ["phone.m4a", "corrupt.flac", "good.wav"]
    done = cli("transcribe", artifact, "--json", *PLAINLY, *(sound / name for name in names))
    assert done.code == 4
    assert "need PyAV" in done.err
    assert [row["text"] for row in done.json] == ["the"]


def test_the_doctor_looks_at_the_cache_and_joins_no_weights(cli, cache, tmp_path, monkeypatch):
    assert cli("doctor").code == 0
    assert snapshot(cache) == {}
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTWHISPER_CACHE", str(tmp_path / "file"))
    done = cli("doctor", "--json")
    assert done.code == 6
    assert "cache folder cannot be written" in done.json["problem"]
    assert "FASTWHISPER_CACHE" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--language", "xx"], 2, "xx"),
        (["--task", "translate"], 2, "translate"),
        (["--provider", "cuda"], 4, "--provider cuda"),
    ],
)
def test_what_the_artifact_cannot_do(refused, artifact, sound, arguments, code, words):
    refused(["transcribe", artifact, sound / "good.wav", *arguments], code, words)


def test_a_damaged_artifact(refused, artifact, sound, tmp_path):
    broken = Path(shutil.copytree(artifact, tmp_path / "broken"))
    (broken / "onnx" / "decoder.onnx").write_bytes(b"not a graph")
    refused(["transcribe", broken, sound / "good.wav"], 5, "decoder.onnx")
    (broken / "onnx" / "decoder.onnx").unlink()
    refused(["transcribe", broken, sound / "good.wav"], 2, "decoder.onnx")
    (broken / "manifest.json").write_text("{}")
    refused(["eval", broken], 2, "manifest.json")


def manifest(folder, *names):
    path = folder / "manifest.jsonl"
    rows = [{"audio_filepath": name, "text": f"the cat number {i}", "id": name} for i, name in enumerate(names)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_bad_audio_in_a_suite_counts_as_deletions_and_is_listed(cli, model, sound):
    names = ["good.wav", "empty.wav", "corrupt.flac", "missing.wav", "long.wav", "silent.wav"]
    suite = manifest(sound, *names)
    done = cli("run", "int8_dynamic", "--model", model, "--suite", suite, "--out", "out", "--json")
    assert done.code == 0, done.err
    for side in ("baseline", "candidate"):
        found = done.json[side]["eval"]
        assert [one["id"] for one in found["failed"]] == ["empty.wav", "corrupt.flac", "missing.wav"]
        assert (found["n_utterances"], found["n_ref_words"]) == (6, 24)
        # long.wav is heard, as a recording without speech: all its words are missing too.
        assert (found["deletions"], found["substitutions"], found["insertions"]) == (4 * 4 + 2 * 3, 0, 0)
        assert found["wer"] == 22 / 24
    rows = [json.loads(line) for line in Path("out/eval/candidate.jsonl").read_text().splitlines()]
    assert [row["error"] is not None for row in rows] == [False, True, True, True, False, False]
    assert all(row["deletions"] == 4 for row in rows if row["error"])
    assert "corrupt.flac" in Path("out/report.md").read_text()
    assert "failed: empty.wav" in cli("eval", "out", "--suite", suite).err


def test_a_suite_without_anything_to_measure(refused, finished, model, sound):
    (sound / "empty.jsonl").write_text("\n")
    (sound / "broken.jsonl").write_text('{"audio_filepath": "good.wav", "text": "x"}\n{"audio_filepath":\n')
    run = ["run", "int8_dynamic", "--model", model, "--suite"]
    refused([*run, sound / "empty.jsonl"], 2, "empty.jsonl", "no utterances")
    refused([*run, sound / "broken.jsonl"], 2, "broken.jsonl:2")
    refused([*run, manifest(sound, "missing.wav")], 2, "manifest.jsonl", "missing.wav")
    refused([*run, manifest(sound, "empty.wav", "corrupt.flac")], 2, "manifest", "2 clips")


def test_a_full_disk_is_a_matter_of_resources(refused, model, cache):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        refused(["run", "fp32", "--model", model], 6, "cannot read or write", "FASTWHISPER_CACHE")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not any((cache / "stages" / "artifact").iterdir())


def test_a_cache_that_cannot_be_written(refused, model, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("mine")
    monkeypatch.setenv("FASTWHISPER_CACHE", str(tmp_path / "cache"))
    refused(["run", "fp32", "--model", model], 6, "cannot read or write", "FASTWHISPER_CACHE")

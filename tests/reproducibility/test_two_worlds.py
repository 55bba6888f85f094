"""A run depends on nothing but what it was asked for, and asks nobody outside for anything."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from reproduce import OUT, run_twice
from reproducible.compare import differences
from reproducible.volatile import RESULTS, with_volatile_of
from terminal import write_model

# Every pass there is, each where it is cheap.
RECIPE = """
version: 1
name: every_pass
passes:
  - pass: smooth
  - {pass: prune, method: l1, granularity: ffn, amount: 0.2, targets: [decoder]}
  - {pass: prune, method: l1, granularity: heads, amount: 0.2, targets: ["decoder.layers.*.encoder_attn"]}
  - {pass: int8_dynamic, split_outliers: true, targets: ["encoder.layers.*.fc*"]}
  - {pass: weight_only, bits: 4, group_size: 32, symmetric: false, method: gptq, targets: ["encoder.layers.*_attn"]}
  - {pass: weight_only, bits: 4, group_size: 32, method: search, targets: ["decoder.layers.*self_attn*"]}
  - {pass: weight_only, bits: 8, group_size: 32, targets: ["decoder.layers.*.fc*", "decoder.embed_tokens"]}
  - {pass: fp16, targets: ["encoder.conv*", "*.embed_positions"]}
  - pass: fuse
gate: {token_agreement: 0.0}
calibration_limit: 1
"""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Two worlds in each of which the recipe was run, on local weights; only the first was told to stay offline."""
    folder = tmp_path_factory.mktemp("worlds")
    model = write_model(folder / "models" / "small")
    recipe = folder / "recipes" / "every_pass.yaml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE)
    work = folder / "a second, wörld" / "work"
    usual = ("--limit", 2, "--threads", 1)
    elsewhere = [os.path.relpath(path, work) for path in (recipe, model)]
    return run_twice(
        folder, [(recipe, "--model", model, *usual, "--offline"), (elsewhere[0], "--model", elsewhere[1], *usual)]
    )


def end(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def test_every_byte_is_the_same(worlds):
    one, two = (world.folder / OUT for world in worlds)
    assert list(differences(one, two)) == []
    assert {"manifest.json", "onnx/weights.bin"} <= {path.relative_to(two).as_posix() for path in two.rglob("*")}


def test_a_difference_would_be_found(worlds, tmp_path):
    one, two = worlds[0].folder / OUT, tmp_path / OUT
    shutil.copytree(one, two)
    (two / "onnx" / "weights.bin").write_bytes(b"x")
    results = json.loads((two / "results.json").read_text())
    results["delta"]["wer_delta_pp"] += 1
    (two / "results.json").write_text(json.dumps(results))
    found = list(differences(one, two))
    assert found[:2] == ["onnx/weights.bin differs", "results.json differs at delta.wer_delta_pp"]
    assert set(found[2:]) <= {"report.md differs", "report.html differs", "README.md differs"} != set()
    assert with_volatile_of({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, ["a.b"]) == {"a": {"b": 1, "c": 3}}
    assert len(set(RESULTS)) == len(RESULTS)


def test_no_socket_is_opened_for_local_weights(worlds):
    assert worlds[1].sockets == []


def test_measuring_transcribing_and_comparing_open_none(worlds, repository):
    two = worlds[1]
    commands = [
        ("eval", OUT, "--limit", 2, "--threads", 1, "--offline", "--json"),
        ("transcribe", OUT, repository / "eval" / "demo" / "short-01.opus", "--threads", 1, "--out", "transcripts"),
        ("compare", OUT, "--out", "comparison"),
    ]
    for code, _, err in map(end, [two.start(*command) for command in commands]):
        assert code == 0, err
    assert two.sockets == []


def test_offline_asks_no_hub_for_a_model_that_is_not_there(worlds):
    two = worlds[1]
    code, out, err = end(two.start("run", "fp32", "--model", "nobody/whisper-nothing", "--offline"))
    assert (code, out) == (6, "")
    assert "offline" in err
    assert two.sockets == []
    code, _, err = end(two.start("run", "fp32", "--model", "nobody/whisper-nothing"))
    assert code == 6
    assert any("connect" in line or "getaddrinfo" in line or "__new__" in line for line in two.sockets), (
        "without --offline the hub is asked, so the log would have told of it"
    )


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["int8_attn_fp16", "int4_weight_only"])
def test_tiny_en(tmp_path, recipe):
    command = (recipe, "--model", "openai/whisper-tiny.en", "--limit", 5, "--threads", 1)
    one, two = run_twice(tmp_path, (command, (*command, "--offline")))
    assert list(differences(one.folder / OUT, two.folder / OUT)) == []
    assert two.sockets == []

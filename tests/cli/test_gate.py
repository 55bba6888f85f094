"""Nothing that fails parity or its gate is published, and nothing that is finished is done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from terminal import snapshot, write_model

from fastwhisper_compress.pipeline import build, evaluate, prepare, run
from fastwhisper_compress.pipeline.gates import load_gates


@pytest.fixture
def few_clips(monkeypatch):
    """A function: limits -> the shipped gates with those, on two clips."""

    def few_clips_(**limits):
        gates = load_gates()
        gates = replace(gates, clips=gates.clips[:2], fp32_error=dict(gates.fp32_error) | limits)
        monkeypatch.setattr(prepare, "load_gates", lambda: gates)

    return few_clips_


def artifacts(cache):
    folder = cache / "stages" / "artifact"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_fp32_without_parity_is_not_published(refused, cache, model, few_clips):
    few_clips(logits=1e-12)
    refused(["run", "fp32", "--model", model], 3, "logits is", "the limit is 1.0e-12")
    assert artifacts(cache) == []


def test_a_gate_out_of_reach_publishes_nothing(refused, cache, tmp_path_factory, few_clips):
    babbling = write_model(tmp_path_factory.mktemp("models") / "babbling", decisive=False)
    few_clips()
    arguments = ["run", "int4_weight_only", "--model", babbling, "--limit", "2", "-o", "gate.token_agreement=1.0"]
    arguments += ["-o", "calibration_limit=1", "-o", "passes.2.method=nearest"]  # of the embedding, which takes longest
    refused(arguments, 3, "gate.token_agreement", "the gate asks for 1.000")
    assert len(artifacts(cache)) == 1, "the verified baseline is kept, and only that"


@pytest.fixture
def again(cli, finished, model):
    """A function: run the finished recipe once more, into the working folder."""
    return lambda *more: cli("run", "int8_dynamic", "--model", model, "--limit", 3, "--out", "out", "--json", *more)


def forbidden(*_, **__):
    raise AssertionError("done again")


def test_finished_stages_are_not_done_again(again, finished, monkeypatch):
    monkeypatch.setattr(build, "emit", forbidden)
    monkeypatch.setattr(evaluate, "measure", forbidden)
    monkeypatch.setattr(build, "load_artifact", forbidden)
    done = again()
    assert done.code == 0, done.err
    assert done.json["candidate"] == finished[1].json["candidate"]
    assert done.err.splitlines() == ["open checkpoint", "load suite", "write report"]


def test_an_earlier_run_is_replaced_or_left_as_it_was(again, monkeypatch):
    assert again().code == 0
    earlier = snapshot(Path("out"))
    with monkeypatch.context() as patch:
        patch.setattr(run, "render", forbidden)
        assert again().code == 1
    assert snapshot(Path("out")) == earlier
    done = again("-o", "description=another")
    assert done.code == 0
    later = snapshot(Path("out"))
    assert later.keys() == earlier.keys()
    assert later["results.json"] != earlier["results.json"]
    assert [path.name for path in Path.cwd().iterdir()] == ["out"]


def test_fp32_against_itself_is_one_artifact(cli, finished, model):
    done = cli("run", "fp32", "--model", model, "--limit", 3, "--json")
    assert done.code == 0, done.err
    assert Path(f"runs/fp32-{model.name}-limit3/report.html").is_file()
    results = done.json
    assert results["baseline"] == results["candidate"]
    assert results["delta"]["identical"] is True
    assert results["delta"]["wer_delta_pp"] == results["delta"]["size_saved_pct"] == 0
    assert results["delta"]["rtfx_ratio"] == 1
    assert "no difference seen in 3 utterances" in results["delta"]["statement"]

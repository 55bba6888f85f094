"""`export-hf`: a folder that transformers loads, or a typed error before any long work."""

from __future__ import annotations

import json

from fastwhisper_compress.checkpoint.open import open_checkpoint

RECIPE = """version: 1
name: narrow
passes:
  - {pass: prune, granularity: %s, amount: 0.5, targets: [encoder]}
  - pass: int8_dynamic
"""


def test_pruned_weights_are_exported_without_their_precisions(cli, model, cache, tmp_path):
    (tmp_path / "narrow.yaml").write_text(RECIPE % "ffn")
    done = cli("export-hf", tmp_path / "narrow.yaml", "--model", model, "--out", "out", "--json")
    assert done.code == 0, done.err
    assert done.json["left_out"] == ["int8_dynamic"]
    assert [one["name"] for one in done.json["applied"]] == ["prune"]
    found, before = open_checkpoint("out"), open_checkpoint(str(model))
    assert (found.dims.encoder_ffn, found.dims.decoder_ffn) == (128, before.dims.decoder_ffn)
    assert found.n_parameters == done.json["parameters"] < before.n_parameters
    assert found.decoding == before.decoding
    assert json.loads(found.tokenizer_json) == json.loads(before.tokenizer_json)
    assert not (cache / "stages" / "artifact").exists(), "no graph is needed where nothing listens"


def test_what_transformers_cannot_hold_is_refused_before_any_work(refused, model, cache, tmp_path):
    (tmp_path / "narrow.yaml").write_text(RECIPE % "heads")
    refused(("export-hf", tmp_path / "narrow.yaml", "--model", model, "--out", "out"), 2, "has lost attention heads")
    refused(("export-hf", "int8_dynamic", "--model", model, "--out", "out"), 2, "no pass that changes weights")
    assert not (cache / "stages" / "artifact").exists()

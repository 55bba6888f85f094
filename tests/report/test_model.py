from __future__ import annotations

import json
import math
import os

import pytest
from report_builders import results_json

from fastwhisper_compress.errors import OutputError, ResourceError, UsageError
from fastwhisper_compress.report import Results

SIDE = {"recipe", "artifact", "memory", "eval", "verify"}
KEYS = {
    (): {
        *("schema_version", "created", "comparable", "not_comparable_because", "recipe", "model", "suite", "baseline"),
        *(
            "candidate",
            "delta",
            "offload",
            "auto_batch",
            "throughput",
            "training",
            "environment",
            "verdict",
            "timings_s",
        ),
    },
    ("recipe",): {
        "name",
        "description",
        "digest",
        "provider",
        "passes",
        "encoder_margin_s",
        "calibration",
        "overrides",
        "shipped",
    },
    ("model",): {"id", "digest", "parameters", "dims", "source_kind", "revision"},
    ("suite",): {"name", "digest", "language", "synthetic", "license", "revision", "n_utterances", "limit", "shipped"},
    ("baseline",): SIDE,
    ("candidate",): SIDE,
    ("candidate", "artifact"): {"size_on_disk_bytes", "files", "provider", "kv_dtype", "modules", "fusions", "applied"},
    ("candidate", "memory"): {
        *("peak_rss_bytes", "rss_after_load_bytes", "rss_imports_bytes", "peak_vram_bytes", "weight_bytes"),
        *("weight_bytes_by_precision", "trace", "predicted"),
    },
    ("candidate", "verify"): {"token_agreement", "sqnr_db", "max_abs_error", "greedy_tokens_equal", "gate"},
    ("delta",): {
        *("wer_delta_pp", "ci95_pp", "ci95_by_speaker_pp", "n_speakers", "share_no_worse", "insertions_delta"),
        *("empty_delta", "loops_delta", "identical", "unit", "n_units", "statement"),
        *("size_saved_pct", "weight_saved_pct", "rss_saved_pct", "rtfx_ratio", "recordings"),
    },
}


def test_round_trip_keeps_every_key_and_value(tmp_path):
    data = results_json()
    path = Results.from_json(data).save(tmp_path / "results.json")
    written = json.loads(path.read_text(encoding="utf-8"))
    for side in ("baseline", "candidate"):
        filled_in = {"resumed_rows": 0, "batch_size": 1, "batch_size_used": 1, "recoveries": []}  # in an older file
        data[side]["eval"] |= filled_in
    data["recipe"]["shipped"] = data["suite"]["shipped"] = True  # likewise
    data["offload"] = data["auto_batch"] = data["throughput"] = None  # likewise
    data["training"] = []
    data["environment"] |= {"isa": [], "gpus": [], "variables": {}}
    assert written == data
    assert Results.load(path).to_json() == data


@pytest.mark.parametrize("where", KEYS, ids=lambda where: ".".join(where) or "top")
def test_written_keys_are_those_of_the_schema(where):
    part = Results.from_json(results_json()).to_json()
    for key in where:
        part = part[key]
    assert set(part) == KEYS[where]


def test_passes_keep_their_own_settings():
    passes = [{"pass": "weight_only", "targets": ["*"], "ignore": [], "bits": 4, "group_size": 32}]
    results = Results.from_json(results_json(recipe__passes=passes))
    assert results.recipe.passes[0].settings == {"bits": 4, "group_size": 32}
    assert results.to_json()["recipe"]["passes"] == passes


def test_keys_of_a_later_version_are_kept():
    data = results_json()
    data["candidate"]["eval"]["words_per_minute"] = 130
    assert Results.from_json(data).to_json()["candidate"]["eval"]["words_per_minute"] == 130


def test_load_takes_a_run_folder_and_save_a_folder(tmp_path):
    Results.from_json(results_json()).save(tmp_path)
    assert Results.load(tmp_path).recipe.name == "int8_attn_fp16"


@pytest.mark.parametrize("version", [0, 1, "2", True, None, 2.0])
def test_another_schema_version_is_named(version):
    with pytest.raises(UsageError, match="schema_version") as caught:
        Results.from_json({"schema_version": version}, place="run/results.json")
    assert caught.value.place == "run/results.json"
    assert caught.value.remedy


@pytest.mark.parametrize("data", [[], "text", None, {}, {"created": "today"}])
def test_json_that_is_no_results_file(data):
    with pytest.raises(UsageError, match="no schema_version"):
        Results.from_json(data)


def test_missing_key_is_named_with_its_place():
    data = results_json()
    del data["candidate"]["memory"]["peak_rss_bytes"]
    with pytest.raises(UsageError, match="required") as caught:
        Results.from_json(data, place="x.json")
    assert caught.value.place == "x.json: candidate.memory.peak_rss_bytes"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("candidate__eval__wer", "much"),
        ("candidate__eval__wer", math.nan),
        ("candidate__eval__rtfx", math.inf),
        ("candidate__artifact__size_on_disk_bytes", -1),
        ("delta__ci95_pp", [0.1]),
        ("candidate__eval__metric", "mer"),
    ],
)
def test_wrong_values_are_refused(key, value):
    data = results_json(**{key: value}, delta__size_saved_pct=0.0)
    with pytest.raises(UsageError) as caught:
        Results.from_json(data)
    assert key.replace("__", ".") in caught.value.place


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1,}', "[" * 100_000])
def test_broken_json(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="not valid JSON") as caught:
        Results.load(path)
    assert str(path) in caught.value.place


def test_binary_and_missing_files(tmp_path):
    (tmp_path / "results.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(UsageError, match="UTF-8"):
        Results.load(tmp_path)
    with pytest.raises(UsageError, match="no results here"):
        Results.load(tmp_path / "elsewhere")


def test_an_infinite_sqnr_becomes_null(tmp_path):
    results = Results.from_json(results_json(baseline__verify__sqnr_db={"encoder": math.inf, "decoder": 90.0}))
    path = results.save(tmp_path / "results.json")
    assert json.loads(path.read_text())["baseline"]["verify"]["sqnr_db"] == {"encoder": None, "decoder": 90.0}


def test_an_undecodable_file_name_does_not_cost_the_run(tmp_path):
    failed = [{"id": "caf\udce9.wav", "error": "\ud83c\udfa7 unreadable"}]
    path = Results.from_json(results_json(candidate__eval__failed=failed)).save(tmp_path / "results.json")
    assert Results.load(path).candidate.eval.failed[0].id == "caf\ufffd.wav"
    assert Results.load(path).candidate.eval.failed[0].error == "\N{HEADPHONE} unreadable"


def test_a_crash_while_saving_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    path.write_text("before")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError, match="the disk is full"):
        Results.from_json(results_json()).save(path)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_saving_renames_and_never_writes_into_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("before")
    os.link(path, tmp_path / "open elsewhere")
    Results.from_json(results_json()).save(path)
    assert (tmp_path / "open elsewhere").read_text() == "before"


def test_saving_below_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        Results.from_json(results_json()).save(tmp_path / "file" / "results.json")
    assert caught.value.remedy

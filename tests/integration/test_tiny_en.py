"""The main job on real weights and speech: what is promised about its results, checked from outside."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from terminal import terminal

RECIPE = "int8_attn_fp16"
COPIED = "moved away"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The working folder, away from the checkout, with a finished run in it."""
    here = tmp_path_factory.mktemp("anywhere")
    done = terminal("run", RECIPE, "--limit", 3, "--out", "out", "--json", "--offline", cwd=here)
    assert done.code == 0, done.err
    assert done.json == json.loads((here / "out" / "results.json").read_text())
    return here


@pytest.fixture(scope="module")
def results(work):
    return json.loads((work / "out" / "results.json").read_text())


def rows(work, side):
    return [json.loads(line) for line in (work / "out" / "eval" / f"{side}.jsonl").read_text().splitlines()]


def test_what_was_run_is_said(results):
    assert results["schema_version"] == 4
    assert results["recipe"]["name"] == RECIPE
    assert results["model"]["id"] == "openai/whisper-tiny.en"
    assert results["model"]["parameters"] == 37_760_256
    assert results["suite"]["name"] == "demo"
    assert results["suite"]["synthetic"] is True
    assert (results["comparable"], results["not_comparable_because"]) == (False, "--limit 3")
    assert results["environment"]["versions"]["onnxruntime"]


def test_the_size_is_that_of_the_files(work, results):
    out = work / "out"
    manifest = json.loads((out / "manifest.json").read_text())
    files = {file["path"]: file for file in manifest["files"]}
    for name, file in files.items():
        content = (out / name).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert results["candidate"]["artifact"]["size_on_disk_bytes"] == sum(file["bytes"] for file in files.values())
    reports = {"manifest.json", "results.json", "report.md", "report.html", "README.md"}
    reports |= {"eval/baseline.jsonl", "eval/candidate.jsonl"}
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == set(files) | reports
    assert results["candidate"]["artifact"]["size_on_disk_bytes"] <= 52e6
    assert results["baseline"]["artifact"]["size_on_disk_bytes"] > 140e6


@pytest.mark.parametrize("side", ["baseline", "candidate"])
def test_the_error_rate_is_jiwers_on_the_rows(work, results, side):
    import jiwer
    from whisper.normalizers import EnglishTextNormalizer

    normalise = EnglishTextNormalizer()
    found, figures = rows(work, side), results[side]["eval"]
    references = [normalise(row["reference"]) for row in found]
    expected = jiwer.process_words(references, [normalise(row["text"]) for row in found])
    assert figures["wer"] == pytest.approx(expected.wer, abs=1e-12)
    for name in ("substitutions", "deletions", "insertions"):
        assert figures[name] == getattr(expected, name) == sum(row[name] for row in found)
    assert figures["n_utterances"] == len(found) == 3
    assert figures["n_ref_words"] == sum(len(text.split()) for text in references) >= 20
    assert figures["rtfx"] == pytest.approx(sum(r["audio_s"] for r in found) / sum(r["wall_s"] for r in found))
    assert 0 < figures["wer"] < 0.5


def test_the_difference_is_that_of_the_sides(results):
    base, new, delta = results["baseline"], results["candidate"], results["delta"]
    assert delta["wer_delta_pp"] == pytest.approx(100 * (new["eval"]["wer"] - base["eval"]["wer"]))
    saved = {
        "size_saved_pct": ("artifact", "size_on_disk_bytes"),
        "rss_saved_pct": ("memory", "peak_rss_bytes"),
        "weight_saved_pct": ("memory", "weight_bytes"),
    }
    for name, (part, key) in saved.items():
        assert delta[name] == pytest.approx(100 * (1 - new[part][key] / base[part][key])), name
    assert delta["rtfx_ratio"] == pytest.approx(new["eval"]["rtfx"] / base["eval"]["rtfx"])
    assert "ci95_pp" in delta
    assert delta["size_saved_pct"] > 60


def test_weights_and_memory_are_told(results):
    for side in ("baseline", "candidate"):
        memory = results[side]["memory"]
        assert memory["weight_bytes"] == sum(memory["weight_bytes_by_precision"].values())
        assert memory["rss_imports_bytes"] < memory["rss_after_load_bytes"] <= memory["peak_rss_bytes"] < 1e9
        assert memory["peak_vram_bytes"] is None
    stored = {module["path"]: module["storage"] for module in results["candidate"]["artifact"]["modules"]}
    attention = {kind for path, kind in stored.items() if "_attn." in path}
    assert attention == {"fp16"}
    assert {stored["encoder.layers.0.fc1"], stored["decoder.embed_tokens"]} == {"int8"}


def test_the_proof_is_told(results):
    assert results["baseline"]["verify"]["greedy_tokens_equal"] == {"n": 10, "of": 10}
    assert results["baseline"]["verify"]["max_abs_error"]["logits"] <= 1e-3
    verified = results["candidate"]["verify"]
    assert verified["gate"] == {"token_agreement": 0.9, "passed": True}
    assert 0.9 <= verified["token_agreement"] <= 1
    assert verified["sqnr_db"]["encoder"] > 15


def test_pages_are_there_and_say_nothing_about_the_machine(work, results):
    out = work / "out"
    for name in ("report.html", "report.md", "README.md"):
        text = (out / name).read_text()
        assert "int8_attn_fp16" in text
        assert "synthetic" in text
    private = (str(work), str(Path.home()), sys.prefix, "site-packages")
    for path in out.rglob("*"):
        if path.suffix in {".html", ".md", ".json", ".jsonl"}:
            text = path.read_text()
            found = [secret for secret in private if len(secret) > 5 and secret in text]
            assert not found, f"{path.name}: {found}"
            assert not re.search(r"(?<![\w.:/])/(root|home|tmp|work|usr|var)/", text), path.name


def test_the_folder_is_an_artifact_wherever_it_lies(work):
    from fastwhisper_compress.evaluation.suite import load_suite
    from fastwhisper_compress.runtime import load_artifact
    from fastwhisper_compress.runtime.audio import read_audio

    utterance = load_suite("demo", limit=1).utterances[0]
    samples = read_audio(utterance.audio)
    measured = rows(work, "candidate")[0]
    found = load_artifact(work / "out", threads=2).transcribe(samples)
    assert (found.text, list(found.tokens)) == (measured["text"], measured["tokens"])
    moved = work.parent / COPIED
    shutil.copytree(work / "out", moved)
    shutil.rmtree(moved / "eval")
    plainly = ["--no-vad", "--timestamps", "none"]  # as a clip is heard
    done = terminal("transcribe", moved, utterance.audio, "--json", *plainly, cwd=work)
    assert done.code == 0, done.err
    (row,) = done.json
    assert (row["file"], row["text"]) == (str(utterance.audio), found.text)
    assert row["duration_s"] == pytest.approx(samples.size / 16_000, abs=0.001)
    assert [token for one in row["segments"] for token in one["tokens"]] == list(found.tokens)


def test_a_repeat_reuses_everything(work, results):
    done = terminal("run", RECIPE, "--limit", 3, "--out", "out", "--json", cwd=work)
    assert done.code == 0, done.err
    assert done.err.splitlines() == ["open checkpoint", "load suite", "write report"]
    assert done.json["timings_s"]["total"] < 10
    assert {side: done.json[side] for side in ("baseline", "candidate")} == {
        side: results[side] for side in ("baseline", "candidate")
    }


def test_fp32_shows_no_difference_from_itself_and_runs_compare(work, results):
    done = terminal("run", "fp32", "--limit", 3, "--out", "fp32", "--json", cwd=work)
    assert done.code == 0, done.err
    assert not [line for line in done.err.splitlines() if "emit" in line or "evaluate" in line]
    assert done.json["baseline"] == done.json["candidate"] == results["baseline"]
    assert "no difference seen in 3 utterances" in done.json["delta"]["statement"]

    compared = terminal("compare", "out", "fp32", "--out", "both", "--json", cwd=work)
    assert compared.code == 0, compared.err
    assert {(run["recipe"], run["baseline"]) for run in compared.json["runs"]} >= {(RECIPE, False), ("fp32", True)}
    assert (work / "both" / "report.html").is_file()
    again = terminal("compare", "out", "fp32", "--out", "out", cwd=work)
    again.refused(2, "out")


def test_eval_finds_the_figures_of_the_run(work, results):
    done = terminal("eval", "out", "--limit", 3, "--json", cwd=work)
    assert done.code == 0, done.err
    assert done.json["eval"] == results["candidate"]["eval"]
    assert not done.err

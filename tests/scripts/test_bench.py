"""The benchmark's own arithmetic and refusals; the peers themselves are not installed here."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import bench
from bench_peers import install
from bench_peers.converters.tokenizer import token_bytes
from bench_peers.install import Home, missing, require
from bench_peers.measure import Clip, artifact_bytes, row, schedule
from bench_peers.peers import PEERS, Variant, parse_variants
from bench_peers.runners import child
from bench_peers.summary import medians, ratios, tables

from fastwhisper_compress.errors import BackendError, UsageError

SCRIPTS = Path(bench.__file__).parent
OURS, PEER = Variant("ours", "int8_dynamic"), Variant("faster-whisper", "int8")


def figures(variant, number, rtfx, *, wer=0.1, noisy=False, rss=200 * 2**20):
    return {
        "round": number,
        "model": "base",
        "peer": variant.peer,
        "precision": variant.precision,
        "noisy": noisy,
        "rtfx": rtfx,
        "wer": wer,
        "peak_rss_bytes": rss,
        "rss_imports_bytes": rss // 4,
        "import_s": 0.2,
        "load_s": 0.3,
        "first_clip_s": 0.1,
        "clip_wall_s_median": 0.1,
        "artifact_bytes": 80_000_000,
        "own_cores": 2.0,
        "other_cores": 0.5 if noisy else 0.0,
    }


def test_variants_take_turns_within_every_round():
    turns = list(schedule(2, ["tiny.en", "base"], [OURS, PEER]))
    assert turns[:4] == [(1, "tiny.en", OURS), (1, "tiny.en", PEER), (1, "base", OURS), (1, "base", PEER)]
    assert [(model, variant) for _, model, variant in turns[4:]] == [(m, v) for _, m, v in turns[:4]]
    assert {number for number, *_ in turns[4:]} == {2}


def test_ratio_is_the_median_of_the_ratios_within_rounds():
    # The machine is twice as slow in round 2: ratios of medians would give 1.5.
    rows = [figures(OURS, n, r) for n, r in ((1, 40), (2, 15), (3, 30))]
    rows += [figures(PEER, n, r, wer=0.098, rss=400 * 2**20) for n, r in ((1, 20), (2, 10), (3, 20))]
    (found,) = ratios(rows)
    assert found["rtfx_per_round"] == [2.0, 1.5, 1.5]
    assert found["rtfx"] == 1.5
    rows[5]["rtfx"] = 10
    assert ratios(rows)[0]["rtfx"] == 2.0
    assert found["peak_rss_bytes"] == 0.5
    assert found["wer_delta_pp"] == pytest.approx(0.2)


def test_a_round_without_its_partner_does_not_count():
    rows = [figures(OURS, 1, 40), figures(PEER, 1, 20), figures(OURS, 2, 90)]
    (found,) = ratios(rows)
    assert (found["rounds"], found["rtfx"]) == (1, 2.0)
    assert ratios([figures(OURS, 1, 40), figures(PEER, 2, 20)]) == []


def test_models_are_not_mixed():
    other = figures(PEER, 1, 5) | {"model": "tiny.en"}
    assert ratios([figures(OURS, 1, 40), other]) == []
    assert [one["model"] for one in medians([figures(OURS, 1, 40), other])] == ["base", "tiny.en"]


def test_medians_count_noisy_rounds():
    rows = [figures(OURS, n, r, noisy=n == 2) for n, r in ((1, 10), (2, 2), (3, 12))]
    (found,) = medians(rows)
    assert (found["rtfx"], found["rounds"], found["noisy_rounds"]) == (10, 3, 1)


def test_tables_hold_every_variant_and_pair():
    rows = [figures(OURS, 1, 40), figures(PEER, 1, 20, noisy=True), figures(Variant("whisper.cpp", "q8_0"), 1, 8)]
    result = {
        "manifest": {"name": "clips", "synthetic": True, "limit": 5, "n_clips": 5, "audio_s": 120},
        "cpu": "a CPU",
        "threads": 2,
        "created": "2030-01-02T03:04:05+00:00",
        "rounds": 1,
        "noisy_cores": 0.2,
        "versions": {"whisper.cpp": {"build": "native"}, "faster-whisper": {"build": "wheel"}},
        "medians": medians(rows),
        "ratios": ratios(rows),
    }
    text = tables(result)
    assert "synthetic speech" in text
    assert "the first 5 only" in text
    assert "| base | ours | int8_dynamic | 40.0 | 10.00 | 200 | 0.50 | 80.0 | 0/1 |" in text
    assert "| base | faster-whisper | int8 | 20.0 | 10.00 | 200 | 0.50 | 80.0 | 1/1 |" in text
    assert "| base | whisper.cpp (native) |" in text
    assert "| base | int8_dynamic | faster-whisper int8 | 2.00 |" in text
    assert "| base | int8_dynamic | whisper.cpp q8_0 | 5.00 |" in text
    widths = [line.count(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert set(widths) == {8}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fastr-whisper:int8", "did you mean 'faster-whisper'"),
        ("faster-whisper", "int8 or float32"),
        ("faster-whisper:q8_0", "int8 or float32"),
        ("ours", "a recipe"),
        ("ours:fp32, ours:fp32", "twice"),
        (" ,", "nothing to measure"),
    ],
)
def test_bad_variants_are_refused(text, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        parse_variants(text)


def test_default_variants_are_known():
    assert {variant.peer for variant in parse_variants(bench.PEERS)} == {"ours", *PEERS}


def test_what_is_not_set_up_is_an_error_that_names_it_all(tmp_path, capsys):
    command = ["--manifest", "clips.jsonl", "--home", str(tmp_path), "--models", "tiny.en,base"]
    assert bench.main([*command, "--peers", "ours:fp32,faster-whisper:int8"]) == BackendError.exit_code
    said = capsys.readouterr().err
    for what in ("environment of faster-whisper", "faster-whisper:int8 for tiny.en", "ours:fp32 for base", "--setup"):
        assert what in said


def test_an_environment_of_other_versions_counts_as_missing(tmp_path, monkeypatch):
    home = Home(tmp_path)
    locks = tmp_path / "lock.txt"
    locks.write_text("faster-whisper==1\n")
    monkeypatch.setattr(install, "lock_file", lambda _name: locks)
    for folder, stamp in (
        (home.environment("faster-whisper"), {"lock": install._digest([locks]), "build": "wheel"}),
        (home.checkpoint("base"), {"checkpoint": "sha256:1"}),
    ):
        folder.mkdir(parents=True)
        install._write_stamp(folder, stamp)
    artifact = home.artifact(PEER, "base")
    artifact.mkdir(parents=True)
    install._write_stamp(artifact, install._made_from(home, PEER, "base"))
    require(home, [PEER], ["base"])
    locks.write_text("faster-whisper==2\n")
    assert missing(home, [PEER], ["base"]) == ["environment of faster-whisper", "faster-whisper:int8 for base"]


def test_an_artifact_of_another_checkpoint_counts_as_missing(tmp_path):
    home = Home(tmp_path)
    home.checkpoint("base").mkdir(parents=True)
    install._write_stamp(home.checkpoint("base"), {"checkpoint": "sha256:1"})
    artifact = home.artifact(PEER, "base")
    artifact.mkdir(parents=True)
    install._write_stamp(artifact, install._made_from(home, PEER, "base"))
    assert missing(home, [PEER], ["base"]) == ["environment of faster-whisper"]
    install._write_stamp(home.checkpoint("base"), {"checkpoint": "sha256:2"})
    assert "faster-whisper:int8 for base" in missing(home, [PEER], ["base"])


def test_ours_can_come_from_finished_runs(tmp_path):
    home = Home(tmp_path / "home", tmp_path / "runs")
    assert missing(home, [OURS], ["base"]) == ["ours:int8_dynamic for base"]
    folder = tmp_path / "runs" / "int8_dynamic-whisper-base"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"files": [{"path": "a", "bytes": 1000}]}')
    (folder / "report.html").write_text("x" * 5000)
    assert missing(home, [OURS], ["base"]) == []
    assert artifact_bytes(home.artifact(OURS, "base")) == 1000 + (folder / "manifest.json").stat().st_size


@pytest.mark.parametrize("name", [*PEERS, install.CONVERTERS])
def test_every_environment_is_locked(name):
    pins = [line for line in install.lock_file(name).read_text().splitlines() if line and not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert [pin for pin in pins if pin.startswith("torch==")] in ([], ["torch==2.13.0"])


@pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
def test_every_peer_has_its_runner(peer):
    assert (SCRIPTS / "bench_peers" / "runners" / f"{peer.runner}.py").is_file()


def test_runners_and_converters_need_nothing_of_this_project():
    for path in [*SCRIPTS.glob("bench_peers/runners/*.py"), *SCRIPTS.glob("bench_peers/converters/*.py")]:
        imported = re.findall(r"^(?:from|import) (\S+)", path.read_text(), re.MULTILINE)
        allowed = ("bench_peers.runners", "bench_peers.converters", "numpy", *sys.stdlib_module_names)
        assert all(name.startswith(allowed) for name in imported), path.name


@pytest.fixture
def measured(tmp_path):
    """A runner's report of a peer that hears the length of each clip."""
    clips = []
    for i, seconds in enumerate((1, 3)):
        path = tmp_path / f"{i}.npy"
        np.save(path, np.zeros(seconds * child.RATE_HZ, np.float32))
        clips.append(Clip(f"clip {i}", path, f"{seconds} seconds", "en"))
    heard = []

    def load(task):
        assert (task.artifact, task.threads) == (tmp_path, 2)

        def transcribe(samples):
            heard.append(samples.size)
            return f"{samples.size // child.RATE_HZ} seconds"

        return transcribe

    task = {
        "artifact": str(tmp_path),
        "precision": "int8",
        "language": "en",
        "multilingual": False,
        "threads": 2,
    }
    spec = {"task": task, "clips": [{"id": clip.id, "samples": str(clip.samples)} for clip in clips]}
    return child.measure(json.loads(json.dumps(spec)), ("json",), load), clips, heard


def test_a_runner_warms_up_and_times_every_clip(measured):
    report, _, heard = measured
    assert heard == [16_000, 16_000, 48_000]
    assert [(one["id"], one["text"], one["audio_s"]) for one in report["clips"]] == [
        ("clip 0", "1 seconds", 1.0),
        ("clip 1", "3 seconds", 3.0),
    ]
    assert report["peak_rss_bytes"] >= report["rss_load_bytes"] > 0
    assert report["other_cores"] >= 0


def test_a_row_scores_the_texts_and_keeps_none(measured):
    report, clips, _ = measured
    report["other_cores"] = 0.5
    report["clips"][1]["text"] = "4 seconds"
    found = row(1, "base", PEER, report, clips)
    assert (found["wer"], found["errors"], found["n_ref_words"], found["noisy"]) == (0.25, 1, 4, True)
    assert found["rtfx"] == pytest.approx(4.0 / found["wall_s"])
    assert "seconds" not in json.dumps(found)


def test_tokens_come_back_as_bytes(tmp_path):
    vocabulary = {"Ġyes": 1, "!": 0, "Ã©": 2, "Ċ": 3, "Ń": 4, "<|endoftext|>": 5}
    content = {"model": {"vocab": vocabulary}, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert token_bytes(tmp_path, 5) == [b"!", b" yes", "é".encode(), b"\n", b"\xad"]

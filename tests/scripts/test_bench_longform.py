"""The arithmetic and the page of the benchmark of long audio; nothing is measured here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_longform
from bench_peers.peers import Variant

OURS, PEER = Variant("ours", "int8_dynamic"), bench_longform.PEER
SUITE = SimpleNamespace(
    language="en", utterances=[SimpleNamespace(text="one day in march"), SimpleNamespace(text="hello")]
)


def measured(number, variant, wall_s, texts=("one day in march", "hello"), peak=200 * 2**20, other_cores=0.0):
    heard = [{"id": str(i), "text": text, "wall_s": wall_s / len(texts)} for i, text in enumerate(texts)]
    report = {"import_s": 0.2, "load_s": 0.3, "peak_rss_bytes": peak, "own_cores": 2.0, "other_cores": other_cores}
    return bench_longform.row(number, "tiny.en", variant, report | {"recordings": heard}, SUITE, 600.0)


@pytest.fixture
def rows():
    found = []
    for number, slow in ((1, 1), (2, 2), (3, 1)):  # the machine is slower in one round, for both
        found.append(measured(number, OURS, 10.0 * slow))
        found.append(measured(number, PEER, 30.0 * slow, ("one day in may", "hello"), 400 * 2**20, 0.5 * (slow == 2)))
    return found


def test_a_row_is_scored_over_all_recordings(rows):
    assert rows[0]["rtfx"] == pytest.approx(60)
    assert (rows[0]["wer"], rows[1]["wer"]) == (0, 0.2)
    assert [one["noisy"] for one in rows] == [False, False, False, True, False, False]
    assert "recordings" not in rows[0]


def test_ratios_are_those_within_a_round(rows):
    (found,) = bench_longform.ratios(rows)
    assert found["rtfx"] == pytest.approx(3)
    assert found["rtfx_per_round"] == pytest.approx([3, 3, 3])
    assert (found["peak_rss_bytes"], found["wer_delta_pp"]) == (0.5, pytest.approx(-20))


def test_the_page_holds_both_and_what_they_were_measured_on(rows):
    result = {
        "manifest": {"name": "calls", "synthetic": False, "n_recordings": 2, "audio_s": 600.0},
        "cpu": "a CPU",
        "threads": 2,
        "batch_size": 8,
        "created": "2030-01-02T03:04:05+00:00",
        "rounds": 3,
        "noisy_cores": 0.2,
        "medians": bench_longform.medians(rows),
        "ratios": bench_longform.ratios(rows),
    }
    text = bench_longform.page(result)
    assert "2 recordings of calls (10.0 min), a CPU, 2 threads, batch 8" in text
    assert "| tiny.en | ours int8_dynamic | 60.0 | 0.00% | 200 MiB | 0.30 s | 0/3 |" in text
    assert "| tiny.en | faster-whisper int8 | 20.0 | 20.00% | 400 MiB | 0.30 s | 1/3 |" in text
    assert "| tiny.en | 3.00 | 3.00 to 3.00 | 0.50 | -20.00 pp |" in text


def test_what_is_not_set_up_is_an_error_that_names_it(tmp_path, capsys):
    command = ["--manifest", "calls.jsonl", "--home", str(tmp_path), "--models", "tiny.en"]
    assert bench_longform.main(command) == 4
    assert "environment of faster-whisper" in capsys.readouterr().err

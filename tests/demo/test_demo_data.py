"""The committed speech of the demo suite agrees with its manifest and its sentences."""

from __future__ import annotations

import csv
import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "eval" / "demo"
ROWS = [json.loads(line) for line in (DEMO / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def sentences():
    with (DEMO / "sentences.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def words():
    from whisper.normalizers import EnglishTextNormalizer

    normalise = EnglishTextNormalizer()
    return {row["id"]: normalise(row["text"]).split() for row in ROWS}


def test_is_large_enough_to_measure_with_and_small_enough_to_ship(words):
    assert len(ROWS) >= 120
    assert sum(map(len, words.values())) >= 1_500
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 6_000_000


def test_ids_and_files_are_unique():
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({row["audio_filepath"] for row in ROWS}) == len(ROWS)


def test_texts_are_the_sentences_in_order(sentences):
    assert [(row["id"], row["text"]) for row in ROWS] == [(one["id"], one["text"]) for one in sentences]


def test_no_sentence_is_written_twice(sentences):
    assert len({one["text"].casefold() for one in sentences}) == len(sentences)


def test_lengths_run_from_two_words_to_thirty_and_more(words):
    lengths = sorted(map(len, words.values()))
    assert lengths[0] in {2, 3}
    assert sum(length <= 4 for length in lengths) >= 10
    assert sum(length >= 30 for length in lengths) >= 10


def test_no_reference_is_empty_after_normalisation(words):
    assert all(words.values())


def test_rows_name_portable_paths_and_their_origin():
    for row in ROWS:
        assert PurePosixPath(row["audio_filepath"]).name == row["audio_filepath"]
        assert row["language"] == "en"
        assert row["speaker"] == "joe-synthetic"
        assert row["synthetic"] is True
        assert row["license"] == "CC0-1.0"


def test_variants_are_spread():
    variants = [row["variant"].split()[0] for row in ROWS]
    assert len(set(variants)) >= 6
    assert max(map(variants.count, variants)) <= len(ROWS) / 4


def test_every_file_in_the_folder_belongs_to_a_row():
    assert {path.name for path in DEMO.glob("*.opus")} == {row["audio_filepath"] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_clip_decodes_to_what_the_manifest_says(row):
    samples, rate_hz = soundfile.read(DEMO / row["audio_filepath"], dtype="float32")
    assert rate_hz == 16_000
    assert samples.ndim == 1
    assert len(samples) / rate_hz == pytest.approx(row["duration"], abs=0.05)
    assert len(samples) / rate_hz <= 25
    assert np.isfinite(samples).all()
    assert np.sqrt(np.mean(samples**2)) > 1e-3


def test_suite_file_leads_to_the_manifest():
    from ruamel.yaml import YAML

    path = ROOT / "eval" / "suites" / "demo.yaml"
    suite = YAML(typ="safe", pure=True).load(path)
    assert suite["synthetic"] is True
    assert (path.parent / suite["manifest"]).resolve() == (DEMO / "manifest.jsonl").resolve()

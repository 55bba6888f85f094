"""What the loop does with cases that end badly, and with its log."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fastwhisper_compress.errors import RecipeError


@pytest.fixture
def kinds(monkeypatch):
    """The module that lists what is fuzzed."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "scripts"))
    return importlib.import_module("fuzz_cases.kinds")


@pytest.fixture
def used(kinds, tmp_path):
    """A function: what to do with a file, and how long it may take -> how that ended, and what is wrong with it."""
    trying = importlib.import_module("fuzz_cases.trying")

    def _used(use, limit_s=1.0):
        kind = replace(kinds.recipes(), case=lambda seed: (".yaml", b"x"), use=use, limit_s=limit_s)
        value = type("Value", (), {"value": 0})
        (row,) = trying._tried(kind, range(7, 8), value, tmp_path)
        return next(iter(row["ends"])), [bad["what"] for bad in row["bad"]]

    return _used


def fails(error):
    def use(path):
        raise error

    return use


def test_what_is_read_is_good(used):
    assert used(lambda path: None) == ("good", [])


def test_an_error_with_place_and_remedy_is_right(used):
    assert used(fails(RecipeError("no", place="x:1", remedy="write yes"))) == ("not by the schema", [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("bare"), "ValueError: bare"),
        (RecursionError(), "RecursionError"),
        (RecipeError("no", place="x:1"), "no place or no remedy"),
        (RecipeError("no", remedy="write yes"), "no place or no remedy"),
        (RecipeError("\x1b[2J", place="x:1", remedy="write yes"), "control characters"),
        (RecipeError("\ud800", place="x:1", remedy="write yes"), "cannot be printed"),
        (RecipeError("n" * 10_000, place="x:1", remedy="write yes"), "characters long"),
    ],
)
def test_other_errors_are_bad(used, error, words):
    _, (what,) = used(fails(error))
    assert words in what


def test_what_takes_too_long_is_bad_unless_a_second_look_is_quick(used):
    _, (what,) = used(lambda path: sum(range(3_000_000)), limit_s=0.001)
    assert what.endswith("allowed are 1")
    waits = [0.2, 0, 0]

    def use(path):
        end = time.process_time() + waits.pop(0)
        while time.process_time() < end:
            pass

    assert used(use, limit_s=0.1) == ("good", [])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it has threads, of other tests
def test_a_case_that_kills_its_process_is_told_and_the_rest_is_tried(kinds, monkeypatch):
    trying = importlib.import_module("fuzz_cases.trying")
    monkeypatch.setattr(trying, "_PROCESSES", multiprocessing.get_context("fork"))  # which inherits what is deadly

    def use(path):
        if path.read_text() == "12":
            os.kill(os.getpid(), signal.SIGKILL)

    deadly = replace(kinds.recipes(), case=lambda seed: (".yaml", str(seed).encode()), use=use)
    monkeypatch.setitem(kinds.KINDS, "recipes", lambda: deadly)
    found = trying.try_cases("recipes", 10, 5)
    assert found["cases"] == 5
    assert [bad["seed"] for bad in found["bad"]] == [12]
    assert "exit code -9" in found["bad"][0]["what"]


def test_the_log_goes_on_where_it_was_stopped(fuzz, tmp_path):
    log = tmp_path / "log"
    _, whole = fuzz("recipes", "--count", 40)
    fuzz("recipes", "--count", 20, "--log", log)
    with log.open("a") as file:
        file.write('{"kind": "reci')
    _, found = fuzz("recipes", "--count", 40, "--log", log)
    assert [(row["seed"], row["cases"]) for row in map(json.loads, log.read_text().splitlines())] == [(0, 20), (20, 20)]
    assert found["ends"] == whole["ends"]


def test_cases_are_the_same_in_every_process(kinds):
    code = (
        "from hashlib import sha256; from fuzz_cases.kinds import KINDS\n"
        "for kind in ('recipes', 'ctranslate2'):\n"
        "    print(sha256(repr([KINDS[kind]().case(n) for n in range(100)]).encode()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1

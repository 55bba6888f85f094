"""Runs of the command line, killed at any time and started again until they end."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from crash.job import digest
from fastwhisper_compress.pipeline.cache import clean, entries
from fastwhisper_compress.pipeline.files import read_json
from fastwhisper_compress.pipeline.publish import left_over
from fastwhisper_compress.pipeline.store import UNFINISHED, Store

_MOST_RUNS = 100  # after as many a run should have come to its end


class Runs:
    """Runs of one checkpoint in one folder, and what an undisturbed one makes.

    Args:
        folder: To work in.
        model: The checkpoint.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self._folder, self._model = folder, model.resolve()
        start = time.perf_counter()
        self._end(self._start("reference"))
        self._seconds = time.perf_counter() - start
        self._known = self._made("reference")

    def kill_one(self, number: int, seed: int) -> dict[str, Any]:
        """Kill a run, and the one that goes on after it, until one comes to its end; then compare.

        The time of a kill is drawn from what an undisturbed run takes. Every other time the processes it has started are
        left alive, and end by themselves.

        Returns:
            ``kills``, ``corrupt`` and ``wrong`` (counts), ``rubbish`` (names), ``seconds``.
        """
        rng, start = random.Random(f"{seed} {number}"), time.perf_counter()  # noqa: S311 - a reproducible choice
        name, kills, corrupt = str(number), 0, 0
        store = self._store(name)
        for _ in range(_MOST_RUNS):
            begun = time.perf_counter()
            process = self._start(name)
            try:
                process.wait(rng.uniform(0, self._seconds))
            except subprocess.TimeoutExpired:
                (os.killpg if rng.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                corrupt += sum(one.damage is not None for one in entries(store, every_byte=True))
                continue
            self._end(process)
            if not kills:  # the machine is less busy than it was: later kills are to come in time
                self._seconds = min(self._seconds, time.perf_counter() - begun)
            break
        self._end(self._start(name))
        wrong = int(self._made(name) != self._known)
        clean(store)
        places = [*store.root.iterdir(), self._folder / name]
        rubbish = [str(path) for folder in places for path in left_over(folder)]
        rubbish += [str(path) for path in store.root.rglob(f"*{UNFINISHED}")]
        if not wrong and not rubbish and not corrupt:
            shutil.rmtree(self._folder / name)
        return {
            "kills": kills,
            "corrupt": corrupt,
            "wrong": wrong,
            "rubbish": rubbish,
            "seconds": round(time.perf_counter() - start, 3),
        }

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        place = self._folder / name
        place.mkdir(exist_ok=True)
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "fastwhisper_compress", "run", "int8_dynamic", "--model", str(self._model)]
        with (place / "stderr").open("ab") as stderr:
            return subprocess.Popen(  # noqa: S603 - this interpreter, our own module
                [*command, "--limit", "3", "--out", "out", "--offline"],
                cwd=place,
                env=os.environ | {"FASTWHISPER_CACHE": str(place / "cache"), "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.wait():
            raise RuntimeError(f"a run ended with exit code {process.returncode}: see stderr below {self._folder}")

    def _store(self, name: str) -> Store:
        return Store(self._folder / name / "cache" / "stages")

    def _made(self, name: str) -> dict[str, Any]:
        """Return what a run made, times and memory aside."""
        out = self._folder / name / "out"
        results = read_json(out / "results.json")
        rows = [
            json.loads(line) for side in ("baseline", "candidate") for line in _lines(out / "eval" / f"{side}.jsonl")
        ]
        return {
            "graphs": digest(out / "onnx"),
            "manifest": read_json(out / "manifest.json"),
            "rows": [[row[key] for key in ("id", "text", "tokens", "error", "reference")] for row in rows],
            "artifacts": [results[side]["artifact"] for side in ("baseline", "candidate")],
        }


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()

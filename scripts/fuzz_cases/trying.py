"""Tries cases in a process of its own, so that whatever a case does to it is seen and told with its number."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import FastWhisperError
from fuzz_cases.kinds import GOOD, KINDS, Kind

_SECOND_LOOKS = 2  # at what took too long: the machine may have been busy
_LONGEST_MESSAGE = 6_000  # characters: ten problems of a recipe, each with its remedy
_HUNG_S = 60.0
_PROCESSES = multiprocessing.get_context("forkserver")  # which has loaded everything once


def try_cases(name: str, first: int, count: int) -> dict[str, Any]:
    """Try ``count`` cases from the number ``first`` on, whatever happens to the processes that do it.

    Returns:
        ``cases``, ``ends`` (how often which), ``slowest_s``, ``slowest`` (its number), ``cpu_s``, ``seconds``, and of the
        bad cases ``bad``: ``seed`` and ``what``.
    """
    _PROCESSES.set_forkserver_preload([__name__, f"fuzz_cases.{name}"])
    start, rows, at = time.perf_counter(), [], first
    while at < first + count:
        current = _PROCESSES.Value("q", at)
        ours, theirs = _PROCESSES.Pipe(duplex=False)
        process = _PROCESSES.Process(target=_work, args=(name, at, first + count - at, current, theirs))
        process.start()
        theirs.close()
        row = _result(ours, current)
        if row is None:
            process.kill()
        process.join()
        if row is None:
            died = f"the process died of it, exit code {process.exitcode}, or was at it for more than {_HUNG_S:g} s"
            row = {
                "cases": current.value - at + 1,
                "ends": {},
                "slowest_s": 0.0,
                "slowest": at,
                "bad": [],
                "cpu_s": 0.0,
            }
            row["bad"].append({"seed": current.value, "what": died})
        rows.append(row)
        at += row["cases"]
    return summed(rows) | {"seconds": round(time.perf_counter() - start, 1)}


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up what was found in several runs."""
    ends: Counter[str] = Counter()
    for row in rows:
        ends.update(row["ends"])
    slowest = max(rows, key=lambda row: row["slowest_s"], default={"slowest_s": 0.0, "slowest": 0})
    return {
        "cases": sum(row["cases"] for row in rows),
        "ends": dict(sorted(ends.items())),
        "slowest_s": slowest["slowest_s"],
        "slowest": slowest["slowest"],
        "bad": [bad for row in rows for bad in row["bad"]],
        "cpu_s": round(sum(row.get("cpu_s", 0.0) for row in rows), 2),
    }


def _result(pipe: Connection, current: Synchronized[int]) -> dict[str, Any] | None:
    """What the process found, or None if it died or stands still."""
    seen = current.value
    while not pipe.poll(_HUNG_S):
        if current.value == seen:
            return None
        seen = current.value
    try:
        row: dict[str, Any] = pipe.recv()
    except EOFError:
        return None
    return row


def _work(name: str, first: int, count: int, current: Synchronized[int], pipe: Connection) -> None:
    warnings.simplefilter("error")  # a warning would be printed between what the program has to say
    kind = KINDS[name]()
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        row = summed(list(_tried(kind, range(first, first + count), current, Path(folder))))
    pipe.send(row | {"cpu_s": round(time.process_time() - start, 2)})


def _tried(kind: Kind, seeds: range, current: Synchronized[int], folder: Path) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        current.value = seed
        suffix, data = kind.case(seed)
        path = folder / f"case{suffix}"
        path.write_bytes(data)
        taken_s, end, wrong = _used(kind, path)
        for _ in range(_SECOND_LOOKS):
            if taken_s > kind.limit_s:
                taken_s = min(taken_s, _used(kind, path)[0])
        if taken_s > kind.limit_s:
            wrong = wrong or f"took {1000 * taken_s:.0f} ms, allowed are {1000 * kind.limit_s:.0f}"
        bad = [{"seed": seed, "what": wrong}] if wrong else []
        yield {"cases": 1, "ends": {end: 1}, "slowest_s": round(taken_s, 4), "slowest": seed, "bad": bad}


def _used(kind: Kind, path: Path) -> tuple[float, str, str | None]:
    """How long a file took, how it ended, and what is wrong with that, if anything is."""
    start = kind.clock()
    try:
        kind.use(path)
    except FastWhisperError as error:
        taken_s = kind.clock() - start
        return taken_s, kind.ends(error), _badly_said(error)
    except BaseException:  # noqa: BLE001 - whatever it is, it should not be
        return kind.clock() - start, "untyped", traceback.format_exc(limit=-6)
    return kind.clock() - start, GOOD, None


def _badly_said(error: FastWhisperError) -> str | None:
    """What a user could not make sense of, or a terminal might obey."""
    text = str(error)
    if not error.place or not error.remedy:
        return f"no place or no remedy: {text}"
    if len(text) > _LONGEST_MESSAGE:
        return f"{len(text)} characters long: {text[:200]!r}"
    try:
        text.encode(sys.getfilesystemencoding())
    except UnicodeEncodeError:
        return f"cannot be printed: {text[:200]!r}"
    return None if text.replace("\n", "").isprintable() else f"holds control characters: {text[:200]!r}"

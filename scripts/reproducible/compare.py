"""What differs between the output folders of two runs that should be one and the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastwhisper_compress.report import Results, read_rows, render
from reproducible.volatile import PAGES, RESULTS, ROWS, with_volatile_of

_SIDES = ("eval/baseline.jsonl", "eval/candidate.jsonl")


def differences(one: Path, two: Path) -> Iterator[str]:
    """Yield what is not the same, clocks and meters aside.

    Reports are compared by what they are made of: that of the second run, printed with the clocks of the first, must be
    the first one's.
    """
    names = [{path.relative_to(folder).as_posix() for path in _files(folder)} for folder in (one, two)]
    yield from (f"{name} is in one of them only" for name in sorted(names[0] ^ names[1]))
    plain = names[0] & names[1] - {"results.json", *_SIDES, *PAGES}
    yield from (f"{name} differs" for name in sorted(plain) if (one / name).read_bytes() != (two / name).read_bytes())
    for name in _SIDES:
        expected, found = (_lines(folder / name) for folder in (one, two))
        rows = [with_volatile_of(*pair, ROWS) for pair in zip(expected, found, strict=True)]
        yield from (f"{name} differs in {row['id']}" for row, known in zip(rows, expected, strict=True) if row != known)
    expected, found = (json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (one, two))
    results = with_volatile_of(expected, found, RESULTS)
    yield from (f"results.json differs at {path}" for path in _paths(expected, results))
    yield from (f"{name} does not follow from its results" for name in _reprinted(one, expected, one))
    yield from (f"{name} differs" for name in _reprinted(two, results, one))


def _reprinted(rows: Path, results: Any, pages: Path) -> Iterator[str]:
    """Print results and rows again, and yield the pages that are others than those in a folder."""
    with tempfile.TemporaryDirectory() as name:
        sides = [read_rows(rows / side) for side in _SIDES]
        for path in render(Results.from_json(results), sides[0], sides[1], Path(name)):
            if path.read_bytes() != (pages / path.name).read_bytes():
                yield path.name


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _paths(one: Any, two: Any, at: str = "") -> Iterator[str]:
    """Yield where two JSON values differ, in the order of their keys too."""
    if isinstance(one, dict) and isinstance(two, dict) and list(one) == list(two):
        for key in one:
            yield from _paths(one[key], two[key], f"{at}.{key}".lstrip("."))
    elif one != two:
        yield at or "the top"

"""A log of rows, one JSON object a line: what is in it is done, so that a loop goes on where it was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the whole rows of a log, and cut off what a kill left half written."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Write a row."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of a log's rows."""
    sums = {name: sum(row[name] for row in rows) for name in ("kills", "corrupt", "wrong")}
    seconds = round(sum(row["seconds"] for row in rows), 1)
    return sums | {"rubbish": sum(len(row["rubbish"]) for row in rows), "seconds": seconds}

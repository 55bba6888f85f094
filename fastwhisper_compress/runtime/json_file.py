"""Read a JSON file that may come from anywhere."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

_LARGEST_BYTES = 6_000_000  # the manifest of a large Whisper has 0.4 MB, a tokenizer.json 2 to 4
_MOST_CONTAINERS = 200_000  # parsed, a byte of an empty list becomes 50; a tokenizer.json has 52,000: its merges


def read_json(path: Path) -> Any:
    """Read a plain file of bounded size.

    Raises:
        FileNotFoundError, NotADirectoryError: There is none.
        OSError: It cannot be read.
        ValueError, RecursionError: It is no such file, or not JSON.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device has no end
        raise ValueError("not a plain file")
    if status.st_size > _LARGEST_BYTES:
        raise ValueError(f"{status.st_size:,} bytes")
    text = path.read_text(encoding="utf-8")
    if text.count("[") + text.count("{") > _MOST_CONTAINERS:
        raise ValueError(f"more than {_MOST_CONTAINERS:,} lists and objects")
    return json.loads(text)

"""One value written in the many ways that YAML has for it."""

from __future__ import annotations

import json
import random
from typing import Any


def written(rng: random.Random, value: Any, indent: int = 0) -> str:
    """Return YAML of a value, which ends its line; nested values are indented below, or written in brackets."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.15:
        return f" {_in_line(rng, value)}\n"
    pad = " " * indent
    step = indent + rng.choice((1, 2, 2, 2, 4))
    if isinstance(value, dict):
        return "\n" + "".join(f"{pad}{_text(rng, key)}:{written(rng, below, step)}" for key, below in value.items())
    return "\n" + "".join(f"{pad}-{written(rng, below, step)}" for below in value)


def _in_line(rng: random.Random, value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_text(rng, key)}: {_in_line(rng, below)}" for key, below in value.items()) + "}"
        case list():
            return "[" + ", ".join(_in_line(rng, below) for below in value) + "]"
        case str():
            return _text(rng, value)
        case None:
            return rng.choice(("null", "~", ""))
        case float() if value in (float("inf"), float("-inf")) or value != value:  # noqa: PLR0124 - NaN
            return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    return json.dumps(value)


def _text(rng: random.Random, text: str) -> str:
    """Quoted in one way or the other, or left plain: even where that changes or breaks it."""
    quoting = rng.random()
    if quoting < 0.5 and text:
        return text
    if quoting < 0.7:
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text, ensure_ascii=quoting < 0.85)

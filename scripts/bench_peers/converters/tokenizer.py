"""The byte strings behind a Hugging Face ``tokenizer.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1))


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def token_bytes(folder: Path, count: int) -> list[bytes]:
    """Return the first ``count`` tokens, which are those of text.

    Byte-level BPE writes bytes that are not printable as the characters from U+0100 on, in ascending order.
    """
    byte_of = {chr(value): value for value in _PRINTABLE}
    byte_of |= {chr(0x100 + i): v for i, v in enumerate(v for v in range(256) if v not in _PRINTABLE)}
    vocabulary: dict[str, int] = read_json(folder / "tokenizer.json")["model"]["vocab"]
    text_of = {index: text for text, index in vocabulary.items()}
    return [bytes(byte_of[character] for character in text_of[index]) for index in range(count)]


def special_tokens(folder: Path) -> dict[str, int]:
    """Return the id of every special token, by name."""
    return {one["content"]: one["id"] for one in read_json(folder / "tokenizer.json")["added_tokens"]}

"""Phases as reports name and order them, and bytes that may be missing or below zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import MINUS, NONE, megabytes

if TYPE_CHECKING:
    from collections.abc import Iterable

_ORDER = ("imports", "load", "log_mel", "encode", "prefill", "decode", "idle")
_SHOWN = {"log_mel": "log-mel"}


def in_order(names: Iterable[str]) -> list[str]:
    """Sort phases as a clip goes through them; unknown ones come last."""
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def shown(name: str) -> str:
    """A phase as people write it."""
    return _SHOWN.get(name, name)


def or_none(n_bytes: int | None) -> str:
    """Megabytes with a true minus sign, or a dash for what is not known."""
    if n_bytes is None:
        return NONE
    return megabytes(n_bytes) if n_bytes >= 0 else MINUS + megabytes(-n_bytes)

"""What the runtime is doing, said to whoever measures it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Phase = Literal["load", "log_mel", "encode", "prefill", "decode", "idle"]

OnPhase = Callable[[Phase], None]
"""Told what begins; ``idle`` when a batch is done, ``load`` only where models come and go."""


def ignore_phase(phase: Phase) -> None:
    """Take no notice."""

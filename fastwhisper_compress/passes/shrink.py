"""How much structured pruning leaves, from sizes alone."""

from __future__ import annotations

CHANNEL_MULTIPLE = 32  # FFN widths stay multiples of this, so that every vector unit and INT4 block is full


def heads_left(heads: int, amount: float) -> int:
    """Return how many of an attention's heads stay when the share ``amount`` is to go: at least one."""
    return heads - min(int(heads * amount), heads - 1)


def channels_left(width: int, amount: float) -> int:
    """Return how many channels of a feed-forward layer stay, rounded up to a whole ``CHANNEL_MULTIPLE``."""
    wanted = width - int(width * amount)
    return min(width, -(-wanted // CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE)

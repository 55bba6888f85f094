"""Damage to bytes: flipped, inserted, deleted, repeated, exchanged, spliced, cut off."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_Damage = Callable[[random.Random, bytearray], None]


def damaged(rng: random.Random, data: bytes, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """Return ``data`` with one to four things wrong, mostly one.

    Args:
        rng: Decides everything.
        data: What is whole.
        words: Pieces that mean something in the format; they are inserted.
        others: Whole files of the same kind; their ends are put behind the beginning of this one.
    """
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        kind = rng.randrange(8)
        if kind < 2:
            _insert(rng, result, rng.choice(words))
        elif kind == 2:
            other = rng.choice(others)
            result[_at(rng, result) :] = other[_at(rng, other) :]
        else:
            rng.choice(_DAMAGES)(rng, result)
    return bytes(result)


def _at(rng: random.Random, data: Sequence[int]) -> int:
    return rng.randint(0, len(data))


def _span(rng: random.Random, data: Sequence[int]) -> slice:
    start = _at(rng, data)
    return slice(start, start + rng.choice((1, 1, 2, 4, 16, 64)))


def _insert(rng: random.Random, data: bytearray, piece: bytes) -> None:
    at = _at(rng, data)
    data[at:at] = piece


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _random(rng: random.Random, data: bytearray) -> None:
    _insert(rng, data, rng.randbytes(rng.choice((1, 1, 2, 4, 16))))


def _delete(rng: random.Random, data: bytearray) -> None:
    del data[_span(rng, data)]


def _repeat(rng: random.Random, data: bytearray) -> None:
    span = _span(rng, data)
    data[span] = data[span] * rng.choice((2, 2, 3, 10, 50))


def _exchange(rng: random.Random, data: bytearray) -> None:
    """Write one piece over another."""
    data[_span(rng, data)] = data[_span(rng, data)]


def _cut_off(rng: random.Random, data: bytearray) -> None:
    del data[_at(rng, data) :]


_DAMAGES: tuple[_Damage, ...] = (_flip, _replace, _random, _delete, _repeat, _exchange, _cut_off)

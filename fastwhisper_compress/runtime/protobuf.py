"""Protobuf's wire format, as far as it takes to see what is in a file before anybody believes it.

See https://protobuf.dev/programming-guides/encoding. Stricter than protobuf: a field that the caller does not know is
refused, and so is one that stands twice where readers would choose or merge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Value = int | memoryview
"""What a field holds: a number, or the bytes of anything else."""

_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


class RefusedError(Exception):
    """What is wrong, as a sentence without a subject."""


def fields(data: memoryview, known: Mapping[int, str], repeated: frozenset[str]) -> Iterator[tuple[str, Value]]:
    """Yield the fields of a message by name.

    Args:
        data: The message.
        known: Names by number.
        repeated: Names of those that may stand more than once.

    Raises:
        RefusedError: It is damaged, or holds something else.
    """
    at, end = 0, len(data)
    seen = set()
    while at < end:
        key, at = _varint(data, at)
        name, wire = known.get(key >> 3), key & 7
        if name is None:
            raise RefusedError(f"has a field {key >> 3} where only {', '.join(known.values())} may be")
        if name in seen and name not in repeated:
            raise RefusedError(f"has {name} twice")
        seen.add(name)
        if wire == _NUMBER:
            value, at = _varint(data, at)
            yield name, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise RefusedError("is not protobuf")
        if length > end - at:
            raise RefusedError(f"ends inside {name}")
        yield name, data[at : at + length]
        at += length


def message(value: Value) -> memoryview:
    """Return the bytes of a field that holds some."""
    if isinstance(value, int):
        raise RefusedError("has a number where something else belongs")
    return value


def number(value: Value) -> int:
    """Return a field that holds a whole number, 0 to 2^64 - 1; a negative one comes out above 2^63."""
    if not isinstance(value, int):
        raise RefusedError("has something else where a number belongs")
    return value


def numbers(value: Value) -> list[int]:
    """Return the whole numbers of a repeated field: one, or several packed."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        one, at = _varint(value, at)
        found.append(one)
    return found


def text(value: Value) -> str:
    """Return a field that holds text."""
    try:
        return bytes(message(value)).decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError("has text that is not UTF-8") from None


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, and where it ends."""
    if at < len(data) and data[at] < 0x80:  # most are small
        return data[at], at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise RefusedError("is not protobuf")

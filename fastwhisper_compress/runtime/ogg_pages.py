"""Whether the pages of an Ogg file follow one another (RFC 3533, section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = 27  # bytes, before the table of segment lengths


def ogg_is_torn(path: Path) -> bool:
    """Whether a page is missing or unreadable with more to come; only headers are read.

    libsndfile skips such a place without a word, and everything behind it is early.
    """
    last: dict[bytes, int] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        while len(header := file.read(_HEADER)) == _HEADER:
            lengths = file.read(header[26])
            if header[:4] != b"OggS":
                return bool(last)  # or no Ogg at all
            stream, number = header[14:18], int.from_bytes(header[18:22], "little")
            if stream in last and number != last[stream] + 1:
                return True
            last[stream] = number
            if file.seek(sum(lengths), 1) > size:
                return False  # cut off
    return False

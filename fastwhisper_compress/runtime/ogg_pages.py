"""Whether the pages of an Ogg file are whole and follow one another (RFC 3533, section 6)."""

from __future__ import annotations

import zlib
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = 27  # bytes, before the table of segment lengths
_CHECKSUM = slice(22, 26)  # in the header, little-endian; counted as zeros when it is computed
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Tear(Enum):
    """What is wrong with the pages of a file."""

    INSIDE = auto()  # one is missing, damaged or unreadable with more to come
    AT_END = auto()  # the last one is damaged


def find_tear(path: Path) -> Tear | None:
    """Look for the first thing that is wrong. A file that is cut off is not torn, nor is one that is no Ogg.

    libsndfile skips such a place without a word, and everything behind it is early. The whole file is read for it, at
    hundreds of megabytes a second: an hour of speech is ten or twenty.
    """
    last: dict[bytes, int] = {}
    with path.open("rb") as file:
        while len(header := file.read(_HEADER)) == _HEADER:
            if header[:4] != b"OggS":
                return Tear.INSIDE if last else None
            lengths = file.read(header[26])
            body = file.read(sum(lengths))
            if len(body) < sum(lengths):
                return None
            stream, number = header[14:18], int.from_bytes(header[18:22], "little")
            if stream in last and number != last[stream] + 1:
                return Tear.INSIDE
            if page_checksum(header + lengths + body) != header[_CHECKSUM]:
                return Tear.INSIDE if file.read(1) else Tear.AT_END
            last[stream] = number
    return None


def page_checksum(page: bytes) -> bytes:
    """Return what a page should carry as its checksum, whatever it carries.

    Ogg's CRC-32 has the polynomial of zlib's, but takes the bits of a byte from the other end and begins with zero. So
    with every byte mirrored, before and after, zlib computes it.
    """
    cleared = page[: _CHECKSUM.start] + bytes(4) + page[_CHECKSUM.stop :]
    found = zlib.crc32(cleared.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF  # undoes how zlib begins and ends
    return found.to_bytes(4, "big").translate(_MIRRORED)

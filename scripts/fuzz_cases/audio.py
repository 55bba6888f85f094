"""Audio files with something wrong in them: ``audio_case(seed)`` is the whole interface.

One to four faults each: bytes flipped, written over, left out, told twice, cut off, taken from another file; lengths, rates
and numbers of channels forged; one container put inside another; the wrong name. Half of the damaged Ogg files get right
checksums again, since a decoder sees nothing of a page that has a wrong one. ``read_audio`` and ``open_audio`` must answer
each within 5 s, by samples or by a typed error. To be read with a limit (``read_audio(path, max_s=30)``), as suites are:
forged rates turn half a second into hours.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from fuzz_cases.audio_bases import bases, mend_checksums

_Fault = Callable[[random.Random, bytearray], None]

_HEAD = 300  # bytes: where most headers lie
_NUMBERS = (0, 1, 2, 3, 7, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**63 - 1, 2**64 - 1)
# What stands before numbers that mean much: chunks, boxes, elements, codec headers.
_MARKS = (
    *(b"RIFF", b"fmt ", b"fact", b"data", b"FORM", b"COMM", b"SSND", b"caff", b"desc", b"pakt", b".snd"),
    *(
        b"fLaC",
        b"OggS",
        b"OpusHead",
        b"OpusTags",
        b"\x01vorbis",
        b"\x03vorbis",
        b"\x05vorbis",
        b"ID3",
        b"Xing",
        b"Info",
    ),
    *(b"ftyp", b"moov", b"mvhd", b"trak", b"mdhd", b"elst", b"stsd", b"mp4a", b"sowt", b"esds", b"stts", b"stsc"),
    *(b"stsz", b"stco", b"mdat", b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75"),
    *(b"\xa3", b"\xae", b"\xb5", b"\x9f", b"\x63\xa2", b"\xff\xf1", b"\xff\xf8", b"\xff\xfb"),
)
_PLAYLISTS = (
    b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    b"<?xml version='1.0'?><MPD><Period><AdaptationSet><BaseURL>file:///etc/passwd</BaseURL></AdaptationSet></Period></MPD>",
)


def audio_case(seed: int) -> tuple[str, bytes]:
    """Return the suffix (with its dot) and the bytes of a file; the same for the same seed and encoders."""
    rng = random.Random(seed)  # noqa: S311 - nothing is kept secret with it
    suffix, whole = rng.choice(list(bases().values()))
    data = bytearray(whole)
    if rng.random() < 0.03:
        data = bytearray(rng.choice(_PLAYLISTS))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_FAULTS)(rng, data)
    if rng.random() < 0.5:
        mend_checksums(data)
    if rng.random() < 0.1:
        suffix = rng.choice([one for one, _ in bases().values()])
    return suffix, bytes(data)


def _at(rng: random.Random, data: bytearray) -> int:
    """Anywhere, but half of the time near the beginning."""
    return rng.randrange(max(1, min(len(data), rng.choice((_HEAD, len(data))))))


def _piece(rng: random.Random, data: bytearray) -> slice:
    start = _at(rng, data)
    return slice(start, start + rng.choice((1, 2, 4, 16, 100, 1000)))


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(min(len(data), rng.choice((1, 1, 3, 12, 60)))):
        data[_at(rng, data)] ^= 1 << rng.randrange(8)


def _noise(rng: random.Random, data: bytearray) -> None:
    place = _piece(rng, data)
    data[place] = rng.randbytes(len(data[place]))


def _zeros(rng: random.Random, data: bytearray) -> None:
    place = _piece(rng, data)
    data[place] = bytes(len(data[place]))


def _cut_off(rng: random.Random, data: bytearray) -> None:
    del data[_at(rng, data) :]


def _leave_out(rng: random.Random, data: bytearray) -> None:
    del data[_piece(rng, data)]


def _tell_twice(rng: random.Random, data: bytearray) -> None:
    place = _piece(rng, data)
    data[place] = data[place] * rng.choice((2, 3, 20))


def _splice(rng: random.Random, data: bytearray) -> None:
    """The rest is another file's."""
    _, other = rng.choice(list(bases().values()))
    data[_at(rng, data) :] = other[_at(rng, bytearray(other)) :]


def _forge(rng: random.Random, data: bytearray) -> None:
    """Write a number that means harm behind a mark, or anywhere."""
    marks = [at for mark in rng.sample(_MARKS, 12) if (at := data.find(mark)) >= 0]
    at = rng.choice(marks) + rng.choice((4, 4, 8, 8, 10, 12, 16, rng.randrange(40))) if marks else _at(rng, data)
    if rng.random() < 0.2 and marks:
        at = max(0, rng.choice(marks) - 4)  # a box has its size before its name
    form = rng.choice(("<B", "<H", ">H", "<I", ">I", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    number = rng.choice((*_NUMBERS, len(data), len(data) - at, rng.getrandbits(64)))
    data[at : at + size] = struct.pack(form, number % (1 << 8 * size))


def _nest(rng: random.Random, data: bytearray) -> None:
    """Put a whole file into this one, or this one behind the head of another."""
    _, other = rng.choice(list(bases().values()))
    at = rng.choice((0, _at(rng, data), len(data)))
    kind = rng.randrange(3)
    if kind == 0:
        data[at:at] = other
    elif kind == 1:
        data[:0] = other[: rng.choice((44, 100, len(other) // 2))]
    else:  # as a tag that players skip
        size = len(data)
        held = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
        data[:] = b"ID3\x04\x00\x00" + held + bytes(data) + other


_FAULTS: tuple[_Fault, ...] = (
    *(_flip, _flip, _noise, _zeros, _cut_off, _leave_out, _tell_twice, _splice),
    *(_forge, _forge, _forge, _nest),
)

"""Where the records of a torch archive (``.pt``, ``.bin``) lie: a zip whose records are stored as they are.

Read by hand rather than by ``zipfile``, which takes whatever can be made out (a directory of millions of entries, two
records of one name, records within records) where torch itself would take something else.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NoReturn

from fastwhisper_compress.checkpoint.safe_load import FRESH_COPY, not_readable, printable
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

_DIRECTORY_LARGEST_BYTES = 1_000_000  # that of a large Whisper has 0.1 MB
_END, _END64, _WHERE64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_ENTRY, _LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
_IN_EXTRA = 0xFFFFFFFF  # a number of 32 bits that says: look among the extra fields
_EXTRA64 = 1


@dataclass(frozen=True)
class Record:
    """The bytes of one record.

    Attributes:
        offset: Of the first, in the file.
        size: How many.
    """

    offset: int
    size: int


def read_records(path: Path) -> dict[str, Record]:
    """Find the records of a torch archive, by their names below the one folder in it.

    Raises:
        UnsafeInputError: It is not one that torch (1.6 or later) writes: no zip, packed, or contradicting itself.
        ModelNotFoundError: The file cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:  # small reads far apart
            return _Archive(file, str(path)).records()
    except OSError as error:
        raise not_readable(path, error) from error


class _Archive:
    def __init__(self, file: FileIO, place: str) -> None:
        self._file = file
        self._place = place
        self._size = file.seek(0, os.SEEK_END)

    def records(self) -> dict[str, Record]:
        found: dict[str, Record] = {}
        spans: list[tuple[int, int]] = []
        folders = set()
        for name, start, size in self._entries():
            folder, _, rest = name.partition("/")
            parts = PurePosixPath(rest).parts
            if not folder or not parts or ".." in (folder, *parts) or "\\" in name or not name.isprintable():
                self._refuse(f"{printable(name)!r} is no name of a record")
            if rest in found:
                self._refuse(f"the record {printable(rest)} stands twice")
            folders.add(folder)
            offset = self._data_offset(name, start)
            found[rest] = Record(offset, size)
            spans.append((start, offset + size))
        spans.sort()
        ends = [0, *(end for _, end in spans)]
        if any(start < end for (start, _), end in zip(spans, ends, strict=False)) or ends[-1] > self._size:
            self._refuse("records overlap, or leave the file")
        if len(folders) != 1:
            self._refuse(f"records in {len(folders)} folders")
        return found

    def _entries(self) -> list[tuple[str, int, int]]:
        """Name, place and size of each record, as the directory at the end of the file tells."""
        where, size = self._directory()
        data, at, found = self._read(where, size), 0, []
        while at < size:
            if size - at < _ENTRY.size:
                self._refuse("its directory is damaged")
            sign, _, _, flags, method, _, _, _, packed, plain, n_name, n_extra, n_note, _, _, _, start = (
                _ENTRY.unpack_from(data, at)
            )
            name = data[at + _ENTRY.size :][:n_name]
            extra = data[at + _ENTRY.size + n_name :][:n_extra]
            at += _ENTRY.size + n_name + n_extra + n_note
            if sign != b"PK\1\2" or at > size or flags & 1:
                self._refuse("its directory is damaged")
            plain, packed, start = self._widened(extra, plain, packed, start)
            if method or packed != plain:
                self._refuse("its records are packed, so the archive is not one torch writes")
            found.append((name.decode("utf-8", "backslashreplace"), start, plain))
        return found

    def _directory(self) -> tuple[int, int]:
        """Place and size of the directory; only an archive without a note behind it is torch's."""
        if self._size < _END.size:
            self._refuse("not a torch archive, or a truncated one")
        sign, _, _, _, _, size, where, n_note = _END.unpack(self._read(self._size - _END.size, _END.size))
        if sign != b"PK\5\6" or n_note:
            self._refuse("not a torch archive, or a truncated one")
        before = self._size - _END.size - _WHERE64.size
        if before >= 0:
            sign, _, at, _ = _WHERE64.unpack(self._read(before, _WHERE64.size))
            if sign == b"PK\6\7":
                if at > before - _END64.size:
                    self._refuse("its directory is damaged")
                sign, *_, size, where = _END64.unpack(self._read(at, _END64.size))
                if sign != b"PK\6\6":
                    self._refuse("its directory is damaged")
        if size > _DIRECTORY_LARGEST_BYTES or where + size > self._size:
            self._refuse(f"claims a directory of {size} bytes at {where} in a file of {self._size}")
        return where, size

    def _widened(self, extra: bytes, *numbers: int) -> list[int]:
        """Replace those numbers that did not fit 32 bits by what the extra fields say."""
        wide: list[int] = []
        while len(extra) >= 4:
            kind, n = struct.unpack_from("<2H", extra)
            if kind == _EXTRA64:
                wide = list(struct.unpack_from(f"<{len(extra[4 : 4 + n]) // 8}Q", extra, 4))
            extra = extra[4 + n :]
        found = []
        for number in numbers:
            if number == _IN_EXTRA:
                if not wide:
                    self._refuse("its directory is damaged")
                number = wide.pop(0)  # noqa: PLW2901
            found.append(number)
        return found

    def _data_offset(self, name: str, start: int) -> int:
        """Return where a record's bytes begin: behind a head of its own, which must tell the same name."""
        head = self._read(start, _LOCAL.size)
        sign, *_, n_name, n_extra = _LOCAL.unpack(head) if len(head) == _LOCAL.size else (b"", 0, 0)
        if sign != b"PK\3\4" or self._read(start + _LOCAL.size, n_name).decode("utf-8", "backslashreplace") != name:
            self._refuse(f"the record {printable(name)} is not where the directory says")
        return int(start + _LOCAL.size + n_name + n_extra)

    def _read(self, at: int, n: int) -> bytes:
        self._file.seek(min(at, self._size))
        return self._file.read(n)

    def _refuse(self, what: str) -> NoReturn:
        raise UnsafeInputError(what, place=self._place, remedy=FRESH_COPY)

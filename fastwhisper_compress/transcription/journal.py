"""What of a transcription is done, line by line, so that it can be gone on with after a crash.

The first line says of which files, artifact and options; then comes a line for each window and for each end of a file, in
the order in which they were finished. A line goes to the system as a whole, which keeps it when this process is killed;
a line that was cut off in writing is cut off in reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastwhisper_compress.errors import OutputError, ResourceError
from fastwhisper_compress.transcription.work import End, Part, Place, Reading

_FORMAT = "fastwhisper-compress/journal"
_VERSION = 1
_HEAD = 1 << 20  # bytes that tell a file, with its size and date


@dataclass(frozen=True)
class Task:
    """What is being done; a journal of anything else is of no use.

    Attributes:
        files: What is heard, as :func:`fingerprint` tells it.
        artifact: Digest of what hears it.
        options: Everything that changes the text or its times, as JSON values.
    """

    files: Sequence[Mapping[str, Any] | None]
    artifact: str
    options: Mapping[str, Any]

    def header(self) -> dict[str, Any]:
        """Return the first line of its journal."""
        facts = {"files": list(self.files), "artifact": self.artifact, "options": dict(self.options)}
        return {"format": _FORMAT, "version": _VERSION, **facts}


def fingerprint(file: Path) -> dict[str, Any] | None:
    """Tell a file from others and from other states of itself, without reading all of it; None if it cannot be read."""
    try:
        with file.open("rb") as opened:
            facts = os.fstat(opened.fileno())
            head = hashlib.sha256(opened.read(_HEAD)).hexdigest()
    except OSError:
        return None
    return {"name": file.name, "bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns, "head_sha256": head}


class Journal:
    """A journal that is being written.

    Attributes:
        path: Where.
        parts: What had been heard of each file before.
        ends: The files that had been heard to their end.
        is_empty: Whether nothing is done yet.
    """

    def __init__(
        self, path: Path, file: BinaryIO, parts: Mapping[int, Sequence[Part]], ends: Mapping[int, End]
    ) -> None:
        self.path, self.parts, self.ends = path, parts, ends
        self.is_empty = not parts and not ends
        self._file = file

    def add(self, index: int, what: Part | End) -> None:
        """Write down what is done, in a file by its index.

        Raises:
            ResourceError: The disk is full.
        """
        _write(self._file, {"file": index, **what.to_json()}, self.path)
        self.is_empty = False

    def reading(self, index: int, file: Path) -> Reading:
        """Return what is left to be read of a file."""
        parts = self.parts.get(index, ())
        if not parts:
            return Reading(file, index, end=self.ends.get(index))
        last = parts[-1]
        windows = sum(part.chapter_s == last.chapter_s for part in parts)
        return Reading(file, index, Place(last.chapter_s, windows), last, self.ends.get(index))

    def remove(self) -> None:
        """Delete it: the work is done."""
        self.path.unlink(missing_ok=True)


@contextmanager
def open_journal(path: Path, task: Task, *, resume: bool, together: int = 1) -> Iterator[Journal]:
    """Begin a journal, or go on with one.

    Args:
        path: Its file.
        task: What is done.
        resume: Whether to go on with what is there. If nothing is there, work begins at the beginning; without ``resume``,
            a journal that is there is refused, as it may hold hours of work.
        together: How many windows are heard at a time. To put the same ones together again, what was written of the last
            few is dropped.

    Raises:
        OutputError: The journal cannot be written, is there although it should not, or is of something else.
        ResourceError: The disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("r+b" if resume and path.exists() else "x+b")
    except FileExistsError:
        raise OutputError(
            "an interrupted transcription has left this journal",
            place=str(path),
            remedy="add --resume to go on with it, or delete it to begin again",
        ) from None
    except OSError as error:
        raise OutputError(
            f"cannot write this file: {error.strerror or error}",
            place=str(path),
            remedy="name another folder with --out",
        ) from error
    with file:
        _lock(file, path)
        journal = _opened(path, file, task, together)
        try:
            yield journal
        except BaseException:
            if journal.is_empty:  # it would only be in the way of the next attempt
                journal.remove()
            raise


def _opened(path: Path, file: BinaryIO, task: Task, together: int) -> Journal:
    header = json.loads(json.dumps(task.header()))  # as it will be read again
    lines = list(_whole_lines(file))
    if not lines:
        file.seek(0)
        if not _line(header).startswith(file.read()):
            raise _foreign(path, "is no journal of a transcription")
        file.seek(0)
        file.truncate()
        _write(file, header, path)
        return Journal(path, file, {}, {})
    _check(path, lines[0][1], header)
    try:
        return _gone_on_with(path, file, lines, together)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _foreign(path, "holds a line that no transcription has written") from None


def _gone_on_with(path: Path, file: BinaryIO, lines: Sequence[tuple[int, Mapping[str, Any]]], together: int) -> Journal:
    kept = _in_whole_batches([line["expected"] for _, line in lines[1:] if "end" not in line], together)
    parts: defaultdict[int, list[Part]] = defaultdict(list)
    ends: dict[int, End] = {}
    offset = lines[0][0]
    for after, line in lines[1:]:
        if "end" in line:
            ends[line["file"]] = End.from_json(line)
        elif kept:
            parts[line["file"]].append(Part.from_json(line))
            kept -= 1
        else:
            break
        offset = after
    file.seek(offset)
    file.truncate()
    return Journal(path, file, parts, ends)


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read lines up to the first that was cut off: where each ends, and what it says."""
    offset = 0
    for line in file:
        offset += len(line)
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not line.endswith(b"\n") or not isinstance(said, dict):
            return
        yield offset, said


def _in_whole_batches(languages: Sequence[str | None], together: int) -> int:
    """Count the windows before the last batch, if it may have been meant to hold more; a batch expects one language."""
    begin = size = 0
    for number, language in enumerate(languages):
        if size == together or (number and language != languages[number - 1]):
            begin, size = number, 0
        size += 1
    return len(languages) if size == together else begin


def _check(path: Path, found: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    if {key: found.get(key) for key in ("format", "version")} != {"format": _FORMAT, "version": _VERSION}:
        raise _foreign(path, "is no journal of a transcription, or one of another version")
    other = [name for name in ("files", "artifact", "options") if found.get(name) != header[name]]
    if other:
        raise _foreign(path, f"was begun with other {' and other '.join(other)}")


def _foreign(path: Path, problem: str) -> OutputError:
    remedy = "repeat the command that began it, or delete it to begin again"
    return OutputError(problem, place=str(path), remedy=remedy)


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=True) + "\n").encode()


def _write(file: BinaryIO, value: Mapping[str, Any], path: Path) -> None:
    try:
        file.write(_line(value))
        file.flush()
    except OSError as error:
        raise ResourceError(
            f"cannot write: {error.strerror or error}", place=str(path), remedy="free disk space, then add --resume"
        ) from error


def _lock(file: BinaryIO, path: Path) -> None:
    """Refuse to write where another process does; its lock goes with it, however it ends."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            "another process is writing this journal", place=str(path), remedy="wait for it, or name another folder"
        ) from None

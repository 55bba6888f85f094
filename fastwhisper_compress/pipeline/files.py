"""Reading and writing: JSON that is the same for equal values, flushing, and typed errors of the disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import FastWhisperError, ResourceError

_REFUSED_BY_THE_DISK = (OSError, PermissionError, NotADirectoryError, FileExistsError)


@contextmanager
def resources(place: Path) -> Iterator[None]:
    """Turn a full or broken disk, or a missing permission, into a typed error."""
    try:
        yield
    except MemoryError as error:
        if isinstance(error, FastWhisperError):
            raise  # ours, with a better remedy
        raise ResourceError("out of memory", place=str(place), remedy="use a smaller model, or free memory") from error
    except OSError as error:
        if type(error) not in _REFUSED_BY_THE_DISK:
            raise  # ours, or a bug
        raise ResourceError(
            f"cannot read or write: {error.strerror or error}",
            place=str(error.filename or place),
            remedy="free disk space, or name a folder that can be written: --out for results, the environment variable "
            "FASTWHISPER_CACHE for finished stages",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values are equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))  # half a character becomes JSON's escape of it


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree(folder: Path) -> list[Path]:
    """Return everything below a folder, links not followed.

    Raises:
        OSError: A folder cannot be read, which ``Path.rglob`` would pass over.
    """
    found: list[Path] = []

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        found += [Path(parent, name) for name in (*folders, *names)]
    return sorted(found)


def copy_tree(source: Path, target: Path, *, leave_out: str) -> None:
    """Copy what is in a folder into another one, a file of one name aside.

    The first error is raised as it is; ``shutil.copytree`` gathers them in a class of its own.
    """
    for path in tree(source):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        elif path.name != leave_out:
            shutil.copyfile(path, place)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder``, and itself, to the disk."""
    for path in [*tree(folder), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    if sys.platform == "win32" and path.is_dir():  # which cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

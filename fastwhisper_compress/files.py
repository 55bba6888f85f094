"""Whole-or-nothing writes: a report or a transcript that is cut off by a crash must never look finished.

A process that is killed while it writes leaves a hidden file behind. It is locked by who writes it, so that one that is
not can be told to be left over.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fastwhisper_compress.errors import OutputError, ResourceError
from fastwhisper_compress.locks import Lock, lock

_LEFT_OVER = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.tmp")


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text through a temporary file, fsync and rename.

    Args:
        path: The file to make or to replace; its folder is made if it is missing.
        text: The content, line ends as given.

    Returns:
        ``path``.

    Raises:
        OutputError: The folder cannot be written.
        ResourceError: The disk is full.
    """
    temporary: Path | None = None
    held: Lock | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, held = _new(path)
        with temporary.open("wb") as file:
            file.write(text.encode("utf-8", errors="backslashreplace"))  # a lone surrogate must not lose the text
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide it from the colleagues it is written for
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError("the disk is full", place=str(path), remedy="free space, then run again") from error
        raise OutputError(
            f"cannot write this file: {error.strerror or error}",
            place=str(path),
            remedy="choose another folder with --out, or free space and check its permissions",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if held is not None:
            held.release()
    return path


def sweep(paths: Iterable[Path]) -> None:
    """Remove what killed processes have left of writing these files; what is being written stays.

    Raises:
        OutputError: The folder cannot be read, or something in it not be removed.
    """
    names = {path.name: path.parent for path in paths}
    try:
        for folder in set(names.values()):
            for path in list(folder.iterdir()) if folder.is_dir() else ():
                match = _LEFT_OVER.fullmatch(path.name)
                if match and names.get(match["name"]) == folder:
                    _discard(path)
    except OSError as error:
        raise OutputError(
            f"cannot be cleaned up: {error.strerror or error}",
            place=str(error.filename),
            remedy="choose another folder with --out, or check its permissions",
        ) from error


def _new(path: Path) -> tuple[Path, Lock]:
    """Make an empty file beside a path, and lock it."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        try:
            return Path(name), lock(Path(name))
        except FileNotFoundError:  # taken for left over before it was locked
            continue
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _discard(leftover: Path) -> None:
    try:
        held = lock(leftover, wait=False)
    except FileNotFoundError:
        return
    try:
        if held.ours:
            leftover.unlink()
    finally:
        held.release()

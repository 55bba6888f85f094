"""Whole-or-nothing writes: a report or a transcript that is cut off by a crash must never look finished."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from fastwhisper_compress.errors import OutputError, ResourceError


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
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
    return path

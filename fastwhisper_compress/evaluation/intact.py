"""Whether an audio file is still the one that a suite was loaded with.

What cannot be decoded is a result: that file fails every time. What cannot be read is none: the disk may answer the next
time, and a failure that passes must not be kept as if it did not.
"""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from fastwhisper_compress.errors import ResourceError

# What a system answers of a name that leads to no file, whenever it is asked.
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})


def audio_digest(path: Path) -> str | None:
    """Return the sha256 of a file's bytes; None if there is no such file.

    Raises:
        ResourceError: It is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise ResourceError(
            f"cannot be read: {error.strerror or error}",
            place=str(path),
            remedy="check the disk and the file's permissions, and run again: finished utterances are kept",
        ) from error


def check_intact(path: Path, digest: str | None) -> None:
    """Refuse to judge a file that is no longer what it was.

    Args:
        path: The file.
        digest: What :func:`audio_digest` said when the suite was loaded.

    Raises:
        ResourceError: It cannot be read, or other bytes are read now.
    """
    if audio_digest(path) != digest:
        raise ResourceError(
            "is no longer the file that the suite was loaded with",
            place=str(path),
            remedy="run again when nothing writes there: finished utterances are kept",
        )

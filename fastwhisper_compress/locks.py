"""Locks that go with their process, however that ends.

Nothing is wrong without them. They save making a thing twice, and they tell what a dead process has left behind from what
a live one is at work on.
"""

from __future__ import annotations

import errno
import os
import sys
import weakref
from pathlib import Path

# What file systems answer that have no locks.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOSYS})


class Lock:
    """An attempt to lock a file or folder, given up by :meth:`release` or when it is forgotten.

    Attributes:
        ours: Whether it succeeded; None where the platform or the file system has no locks.
        release: Gives it up; a second call does nothing.
    """

    def __init__(self, descriptor: int, ours: bool | None) -> None:
        self.ours = ours
        self.release = weakref.finalize(self, os.close, descriptor)


def lock(path: Path, *, shared: bool = False, wait: bool = True, create: bool = False) -> Lock:
    """Lock what is at a path, and not what was there when the waiting began.

    Args:
        path: A file or a folder.
        shared: Together with others who share it.
        wait: Until nobody else has it.
        create: Make an empty file if there is nothing.

    Raises:
        FileNotFoundError: There is nothing, or no longer.
        OSError: It cannot be opened.
    """
    flags = os.O_CREAT | os.O_RDWR if create else os.O_RDONLY
    if sys.platform == "win32":  # where a folder cannot be opened, and a file that is open not be moved
        path.touch() if create else path.stat()
        return Lock(os.open(os.devnull, os.O_RDONLY), None)
    while True:
        descriptor = os.open(path, flags, 0o644)
        try:
            ours = _take(descriptor, shared=shared, wait=wait)
            current = not ours or _is_at(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        if current:
            return Lock(descriptor, ours)
        os.close(descriptor)


def _take(descriptor: int, *, shared: bool, wait: bool) -> bool | None:
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

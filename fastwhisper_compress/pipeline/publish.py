"""Folders that appear whole or not at all: made under a name of their own, flushed, and moved by one rename.

One that is there already changes places with the new one in one step. Where the system or the file system cannot do that
(anything but Linux, and some network file systems) it takes two, and a log warning says so: a process killed between them
leaves nothing in place until the next call, which brings the old one back.

A process that is killed leaves its draft behind. Drafts are locked by who is at work on them, so that what is unlocked
can be told to be left over.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from fastwhisper_compress.locks import Lock, lock
from fastwhisper_compress.pipeline.exchange import exchange
from fastwhisper_compress.pipeline.files import sync, sync_tree

_Role = Literal["draft", "old"]
_LEFT_OVER = re.compile(r"\.(?P<name>.+)\.(?P<role>draft|old)-[a-z0-9_]{8}")
_INSIDE_OLD = "old"
_LOG = logging.getLogger(__name__)


@contextmanager
def publishing(final: Path) -> Iterator[Path]:
    """Give a new folder beside ``final``; afterwards move it there, if nothing was raised.

    What stood at ``final`` before stays until that moment, and stays if the move fails. Where ``final`` is a symbolic link, the folder it points to is replaced.
    """
    final = final.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    _recover(final)
    with draft(final) as folder:
        yield folder
        sync_tree(folder)
        _swap(folder, final)
        sync(final.parent)


@contextmanager
def draft(final: Path) -> Iterator[Path]:
    """Give a new folder beside ``final``, and remove it afterwards unless it was moved away."""
    with _beside(final, "draft") as folder:
        folder.chmod(0o755)
        yield folder


def remove(final: Path) -> None:
    """Remove a folder so that it is never there in part; one that is gone already is as good."""
    with _beside(final, "old") as place, suppress(FileNotFoundError):
        final.rename(place / _INSIDE_OLD)


def left_over(parent: Path, name: str | None = None) -> list[Path]:
    """Return the drafts and replaced folders in a folder, also those somebody is at work on; of one name or of all."""
    found = ((path, _LEFT_OVER.fullmatch(path.name)) for path in parent.iterdir())
    return sorted(path for path, match in found if match and name in (None, match["name"]) and path.is_dir())


def discard(leftover: Path) -> bool:
    """Remove a draft or replaced folder unless somebody is at work on it; say whether it was removed."""
    try:
        held = lock(leftover, wait=False)
    except FileNotFoundError:
        return False
    try:
        if held.ours:
            shutil.rmtree(leftover)
        return bool(held.ours)
    finally:
        held.release()


@contextmanager
def _beside(final: Path, role: _Role) -> Iterator[Path]:
    folder, held = _new(final, role)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.release()


def _new(final: Path, role: _Role) -> tuple[Path, Lock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.{role}-", dir=final.parent))
        try:
            return folder, lock(folder)
        except FileNotFoundError:  # taken for left over before it was locked
            continue
        except BaseException:
            folder.rmdir()
            raise


def _swap(folder: Path, final: Path) -> None:
    if not final.exists():
        folder.rename(final)
    elif not exchange(folder, final):  # done in one step, the draft is the old one, and removed as drafts are
        _LOG.warning("%s is replaced in two steps: its file system cannot do it in one", final)
        _swap_in_two_steps(folder, final)


def _swap_in_two_steps(folder: Path, final: Path) -> None:
    with _beside(final, "old") as place:
        try:
            final.rename(place / _INSIDE_OLD)
            folder.rename(final)
        finally:
            if not final.exists():  # an error or Ctrl-C between the two
                (place / _INSIDE_OLD).rename(final)


def _recover(final: Path) -> None:
    """Undo what a killed process began at ``final``."""
    for path in left_over(final.parent, final.name):
        held = lock(path, wait=False)
        try:
            if held.ours and (path / _INSIDE_OLD).is_dir() and not final.exists():
                (path / _INSIDE_OLD).rename(final)
        finally:
            held.release()
        discard(path)

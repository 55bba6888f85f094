"""What a person asks of the store: what is in it, whether it is sound, and to make room."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastwhisper_compress.locks import lock
from fastwhisper_compress.pipeline.files import resources
from fastwhisper_compress.pipeline.publish import discard, left_over, remove
from fastwhisper_compress.pipeline.seal import SEAL, damage
from fastwhisper_compress.pipeline.store import LOCKS, UNFINISHED, Store

DAY_S = 86_400


@dataclass(frozen=True)
class Entry:
    """A finished stage.

    Attributes:
        kind: ``artifact``, ``calibration``, ``evaluation``, ``importance``, ``labels`` or ``training``.
        name: Hash of what decided it.
        size_on_disk_bytes: Of its files.
        used_at: When it was last used, seconds since 1970.
        damage: What is wrong with it; None if nothing is.
    """

    kind: str
    name: str
    size_on_disk_bytes: int
    used_at: float
    damage: str | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Removed:
    """Something that is no longer in the store.

    Attributes:
        path: Relative to the store.
        size_on_disk_bytes: What that gave back.
        why: In words.
    """

    path: str
    size_on_disk_bytes: int
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def entries(store: Store, *, every_byte: bool = False) -> list[Entry]:
    """Return the finished stages, the last used ones first.

    Args:
        store: The store.
        every_byte: Hash every file, also where size and time are those that were written.

    Raises:
        ResourceError: The store cannot be read.
    """
    found = []
    with resources(store.root):
        for kind in _kinds(store):
            for folder in sorted(kind.iterdir()):
                if folder.name.startswith(".") or folder.name.endswith(UNFINISHED) or not folder.is_dir():
                    continue
                found.append(_entry(folder, every_byte=every_byte))
    return sorted(found, key=lambda one: one.used_at, reverse=True)


def _entry(stage: Path, *, every_byte: bool) -> Entry:
    wrong = damage(stage, every_byte=every_byte)
    used_at = _mtime(stage / SEAL) or _mtime(stage)
    return Entry(stage.parent.name, stage.name, _size(stage), used_at, wrong)


def clean(
    store: Store, *, unused_s: float | None = None, most_bytes: int | None = None, every_byte: bool = False
) -> list[Removed]:
    """Remove what nobody needs: what killed processes left, damaged stages, and stages beyond the limits.

    What somebody is at work on, or uses, stays.

    Args:
        store: The store.
        unused_s: Remove stages, and the unfinished work of killed runs, that nobody has used for so long.
        most_bytes: Remove the stages unused for longest until the others take no more than this.
        every_byte: Hash every file to find what is damaged.

    Raises:
        ResourceError: Something cannot be removed.
    """
    removed = []
    with resources(store.root):
        for kind in _kinds(store):
            for path in left_over(kind):
                size = _size(path)
                if discard(path):
                    removed.append(_removed(store, path, size, "left by a process that ended"))
        removed += _unfinished(store, unused_s)
        kept = 0
        for one in entries(store, every_byte=every_byte):
            path = store.root / one.kind / one.name
            room = None if most_bytes is None else most_bytes - kept
            judge = partial(_why, unused_s=unused_s, room=room)
            why = judge(one)
            if why is not None:
                why = _remove_unused(path, judge, every_byte=every_byte)
            if why is not None:
                removed.append(_removed(store, path, one.size_on_disk_bytes, why))
            else:
                kept += one.size_on_disk_bytes
        removed += _locks(store)
    return removed


def _why(one: Entry, unused_s: float | None, room: int | None) -> str | None:
    """Return why a stage is to go; None if it is to stay."""
    if one.damage is not None:
        return f"damaged: {one.damage}"
    if unused_s is not None and time.time() - one.used_at > unused_s:
        return f"not used for {(time.time() - one.used_at) / DAY_S:.0f} days"
    if room is not None and one.size_on_disk_bytes > room:
        return "the store is larger than it is to be"
    return None


def _remove_unused(stage: Path, judge: Callable[[Entry], str | None], *, every_byte: bool) -> str | None:
    """Remove a stage unless somebody uses it, or has used or mended it since it was looked at; return why it went."""
    try:
        held = lock(stage, wait=False)
    except FileNotFoundError:
        return None
    try:
        why = judge(_entry(stage, every_byte=every_byte)) if held.ours else None
        if why is not None:
            remove(stage)
        return why
    finally:
        held.release()


def _unfinished(store: Store, unused_s: float | None) -> Iterator[Removed]:
    """Remove unfinished work whose stage is there, or that nobody went on with for so long."""
    for path in [path for kind in _kinds(store) for path in sorted(kind.glob(f"*{UNFINISHED}"))]:
        if _why_unfinished(path, unused_s) is None:
            continue
        locks = store.root / LOCKS
        locks.mkdir(exist_ok=True)
        held = lock(locks / path.name.removesuffix(UNFINISHED), wait=False, create=True)
        try:
            why = _why_unfinished(path, unused_s) if held.ours else None  # its maker may have been here meanwhile
            if why is not None:
                size = _size(path)
                shutil.rmtree(path)
                yield _removed(store, path, size, why)
        finally:
            held.release()


def _why_unfinished(path: Path, unused_s: float | None) -> str | None:
    """Return why unfinished work is to go; None if it is to stay, or is gone."""
    if not path.is_dir():
        return None
    final = path.with_name(path.name.removesuffix(UNFINISHED))
    if final.is_dir() and damage(final, every_byte=False) is None:
        return "finished since"
    unused = time.time() - _touched(path)
    if unused_s is not None and unused > unused_s:
        return f"not gone on with for {unused / DAY_S:.0f} days"
    return None


def _locks(store: Store) -> Iterator[Removed]:
    """Remove the files that makers lock, where nobody holds or awaits one."""
    folder = store.root / LOCKS
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            held = lock(path, wait=False)
        except FileNotFoundError:
            continue
        try:
            if held.ours:
                path.unlink()
                yield _removed(store, path, 0, "an old lock")
        finally:
            held.release()


def _kinds(store: Store) -> Iterable[Path]:
    if not store.root.is_dir():
        return []
    return sorted(path for path in store.root.iterdir() if path.is_dir() and path.name != LOCKS)


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files; of one that somebody is at work on, as they are now."""
    total = 0
    for path in _files(folder):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def _touched(folder: Path) -> float:
    """Return when anything in a folder was last changed; 0 if it is gone."""
    return max(_mtime(path) for path in (folder, *_files(folder)))


def _files(folder: Path) -> Iterator[Path]:
    """List the files below a folder that may be going while we look."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _mtime(path: Path) -> float:
    """Return when something was last changed; 0 if it is gone."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _removed(store: Store, path: Path, size: int, why: str) -> Removed:
    return Removed(path.relative_to(store.root).as_posix(), size, why)

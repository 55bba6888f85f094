"""The list of a stage's files with their hashes, by which it is known to be what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastwhisper_compress.pipeline.files import read_json, sha256, tree, write_json

SEAL = "stage.json"


def key(spec: Mapping[str, Any]) -> str:
    """Return the name of a stage: the hash of all that decides its content."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def seal(folder: Path, kind: str, spec: Mapping[str, Any]) -> None:
    """Write the list of what is in a folder, and what decided it."""
    files = {}
    for name, path in _files(folder).items():
        status = path.stat()
        files[name] = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256(path)}
    write_json(folder / SEAL, {"kind": kind, "spec": spec, "files": files})


def damage(folder: Path, *, every_byte: bool) -> str | None:
    """Return what is wrong with a stage, None if nothing is.

    Args:
        folder: The stage.
        every_byte: Hash every file, also where size and time are those of the list.

    Raises:
        OSError: The disk cannot be read, which says nothing about the stage.
    """
    try:
        return _damage(folder, every_byte=every_byte)
    except FileNotFoundError as error:  # also while somebody else removes it
        return f"{Path(error.filename).name} is missing"


def _damage(folder: Path, *, every_byte: bool) -> str | None:
    try:
        sealed = read_json(folder / SEAL)
        files = {name: (one["bytes"], one["mtime_ns"], one["sha256"]) for name, one in sealed["files"].items()}
        known = sealed["kind"] == folder.parent.name and key(sealed["spec"]) == folder.name
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{SEAL} is not a list of files"
    if not known:
        return f"{SEAL} is that of another stage"
    found = _files(folder)
    if different := sorted(found.keys() ^ files.keys()):
        return f"{different[0]} " + ("is missing" if different[0] in files else "does not belong to it")
    for name, listed in files.items():
        if not _is_as_listed(found[name], *listed, every_byte=every_byte):
            return f"{name} is not what was written"
    return None


def _is_as_listed(path: Path, size: int, mtime_ns: int, digest: str, *, every_byte: bool) -> bool:
    status = path.lstat()
    if status.st_size != size or path.is_symlink():
        return False
    moved = status.st_mtime_ns != mtime_ns
    if not every_byte and not moved:
        return True
    if sha256(path) != digest:
        return False
    if moved:  # copied, perhaps: the next look is quick again
        with suppress(OSError):
            os.utime(path, ns=(status.st_atime_ns, mtime_ns))
    return True


def _files(folder: Path) -> dict[str, Path]:
    """Return everything in a folder but folders and the list itself, by relative name."""
    found = {path.relative_to(folder).as_posix(): path for path in tree(folder)}
    return {name: path for name, path in found.items() if name != SEAL and (path.is_symlink() or not path.is_dir())}

"""Finished stages on disk, found again by what went into them.

A stage is a folder whose name is the hash of everything that decides its content. It is made under a name of its own
and appears by one rename, so that it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import ResourceError

_NOT_WRITABLE = (OSError, PermissionError, NotADirectoryError, FileExistsError)


@dataclass(frozen=True)
class Store:
    """A folder of finished stages."""

    root: Path

    def stage(self, kind: str, spec: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Return the folder of a stage, making it first if it is not there.

        A second process that asks for the same stage meanwhile waits for the first one's.

        Args:
            kind: The stage's name.
            spec: All that decides the content, as JSON values.
            make: Fills the folder it is given; if it raises, nothing is kept.

        Raises:
            ResourceError: The store cannot be written.
        """
        final = self.path(kind, spec)
        with resources(self.root):
            if final.is_dir():
                return final
            with _locked(self.root / "locks" / final.name):
                if not final.is_dir():
                    with publishing(final) as folder:
                        make(folder)
                        write_json(folder / "stage.json", {"kind": kind, "spec": spec})
        return final

    def path(self, kind: str, spec: Mapping[str, Any]) -> Path:
        """Return where a stage is, or would be."""
        text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return self.root / kind / hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def publishing(final: Path) -> Iterator[Path]:
    """Give a new folder beside ``final``; afterwards move it there, if nothing was raised.

    What stood at ``final`` before stays until that moment, and comes back if the move fails. Where ``final`` is a
    symbolic link, the folder it points to is replaced.
    """
    final = final.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    draft.chmod(0o755)
    try:
        yield draft
        sync_tree(draft)
        _swap(draft, final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def resources(place: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into a typed error."""
    try:
        yield
    except MemoryError as error:
        raise ResourceError("out of memory", place=str(place), remedy="use a smaller model, or free memory") from error
    except OSError as error:
        if type(error) not in _NOT_WRITABLE:
            raise  # ours, or a bug
        raise ResourceError(
            f"cannot write: {error.strerror or error}",
            place=str(error.filename or place),
            remedy="free disk space, or name a folder that can be written: --out for results, the environment variable "
            "FASTWHISPER_CACHE for finished stages",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values are equal bytes."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder`` to the disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time pass; a lock goes with its process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if sys.platform != "win32":  # there, two makers do the work twice and the later one's is kept
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _swap(draft: Path, final: Path) -> None:
    if not final.exists():
        draft.rename(final)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent)) / "old"
    try:
        final.rename(old)
        draft.rename(final)
    finally:
        if not final.exists():  # an error or Ctrl-C between the two
            old.rename(final)
        shutil.rmtree(old.parent, ignore_errors=True)

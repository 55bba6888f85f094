"""Finished stages on disk, found again by what went into them.

A stage is a folder whose name is the hash of everything that decides its content. It appears by one rename, so that it is
there whole or not at all; its list of hashes is compared with what is there before it is used.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import ResourceError
from fastwhisper_compress.locks import Lock, lock
from fastwhisper_compress.pipeline.files import resources, sync, sync_tree
from fastwhisper_compress.pipeline.publish import draft, remove
from fastwhisper_compress.pipeline.seal import SEAL, damage, key, seal

LOCKS = "locks"
UNFINISHED = ".unfinished"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Store:
    """A folder of finished stages.

    Attributes:
        root: The folder.
        tell: Told when a stage is damaged and made again.
        every_byte: Hash every file of a stage before it is used, also where its size and time are as they were.
    """

    root: Path
    tell: Callable[[str], None] = logging.getLogger(__name__).warning
    every_byte: bool = False
    _used: dict[Path, Lock] = field(default_factory=dict, init=False, repr=False, compare=False)

    def stage(self, kind: str, spec: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Return the folder of a stage, making it first if it is not there or no longer what was written.

        A second process that asks for the same stage meanwhile waits for the first one's. The folder stays for as long as
        this store is in use.

        Args:
            kind: The stage's name.
            spec: All that decides the content, as JSON values.
            make: Fills the folder it is given; if it raises, nothing is kept.

        Raises:
            ResourceError: The store cannot be written.
        """
        final = self.path(kind, spec)
        with resources(self.root):
            for _ in range(_ATTEMPTS):
                if final.is_dir() and self._use(final) is None:
                    return final
                self._make(final, kind, spec, make)
        raise ResourceError(
            "is not what was written, and was made again in vain",
            place=str(final),
            remedy="check the disk, or name another folder by the environment variable FASTWHISPER_CACHE",
        )

    def path(self, kind: str, spec: Mapping[str, Any]) -> Path:
        """Return where a stage is, or would be."""
        return self.root / kind / key(spec)

    def unfinished(self, kind: str, spec: Mapping[str, Any]) -> Path:
        """Return a folder for what is to outlive a killed maker; it goes when the stage is there."""
        final = self.path(kind, spec)
        return final.with_name(final.name + UNFINISHED)

    def _use(self, final: Path) -> str | None:
        """Keep a stage from being removed, and note that it is used; return what is wrong with it, if anything is."""
        try:
            held = lock(final, shared=True)
        except FileNotFoundError:
            return "it is missing"
        if why := damage(final, every_byte=self.every_byte):
            held.release()
            return why
        self._used[final] = held
        with suppress(OSError):  # a store that can only be read
            os.utime(final / SEAL)
        return None

    def _make(self, final: Path, kind: str, spec: Mapping[str, Any], make: Callable[[Path], None]) -> None:
        for folder in (self.root / LOCKS, final.parent):
            folder.mkdir(parents=True, exist_ok=True)
        held = lock(self.root / LOCKS / final.name, create=True)
        try:
            if final.is_dir():
                why = self._use(final)
                if why is None:
                    return
                self.tell(f"{kind} {final.name} is damaged and made again: {why}")
                remove(final)
            with draft(final) as folder:
                make(folder)
                seal(folder, kind, spec)
                _publish(folder, final)
            shutil.rmtree(self.unfinished(kind, spec), ignore_errors=True)
        finally:
            held.release()


def _publish(folder: Path, final: Path) -> None:
    sync_tree(folder)
    try:
        folder.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return  # somebody was faster, where there are no locks
    sync(final.parent)

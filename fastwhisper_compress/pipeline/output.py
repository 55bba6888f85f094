"""The output folder: ours to replace, or refused before any work is done."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fastwhisper_compress.errors import OutputError
from fastwhisper_compress.pipeline.store import read_json
from fastwhisper_compress.runtime.manifest import FORMAT


def check_output(folder: Path) -> None:
    """Refuse a folder that cannot be written, or that holds what no run of ours has made.

    Raises:
        OutputError: With the remedy.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("is a file", place=f"--out {folder}", remedy="name a new folder")
    if folder.is_dir() and any(folder.iterdir()) and not _ours(folder):
        raise OutputError(
            "is not empty and holds no earlier run, so it is left as it is",
            place=f"--out {folder}",
            remedy="name a new folder, or empty this one",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise PermissionError("permission denied")
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}", place=f"--out {folder}", remedy="name another folder"
        ) from None


def _ours(folder: Path) -> bool:
    try:
        return bool(read_json(folder / "manifest.json")["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False

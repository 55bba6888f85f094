"""The output folder: ours to replace, or refused before any work is done."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from fastwhisper_compress.errors import OutputError
from fastwhisper_compress.runtime.json_file import read_json
from fastwhisper_compress.runtime.manifest import FORMAT

# What a run writes besides the files that its manifest lists.
_WRITTEN = {
    *("manifest.json", "results.json", "report.md", "report.html", "README.md"),
    *("eval/baseline.jsonl", "eval/candidate.jsonl"),
}


def check_output(folder: Path) -> None:
    """Refuse a folder that cannot be written, or that holds what no run of ours has made.

    Nothing is left behind, also where the folder does not exist yet.

    Raises:
        OutputError: With the remedy.
    """
    try:
        problem = _problem(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symbolic links, a NUL in the name
        why = error.strerror if isinstance(error, OSError) else None
        problem = (f"cannot be written: {why or error}", "name another folder")
    if problem is not None:
        raise OutputError(problem[0], place=f"--out {folder}", remedy=problem[1])


def _problem(folder: Path) -> tuple[str, str] | None:
    """Return what is wrong with a folder, and the remedy."""
    if folder.exists() and not folder.is_dir():
        return "is a file", "name a new folder"
    if folder.is_mount() or folder in (Path.cwd(), *Path.cwd().parents):
        return "is a mount point or the working folder, which cannot be replaced as a whole", "name a folder inside it"
    if folder.is_dir() and (stray := _not_ours(folder)):
        return (
            f"holds what no run has written ({stray}), so it is left as it is",
            "name a new folder, or empty this one",
        )
    # A run appears by a rename of its folder, so it is the folder above that must be writable.
    with tempfile.TemporaryFile(dir=next(parent for parent in folder.parents if parent.exists())):
        return None


def _not_ours(folder: Path) -> str | None:
    """Return the name of something in the folder that an earlier run did not put there."""
    known: set[str] = set()
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest["format"] == FORMAT:
            known = {file["path"] for file in manifest["files"]} | _WRITTEN
            known |= {parent.as_posix() for name in known for parent in PurePosixPath(name).parents}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # no run, so everything is foreign
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return next((name for name in names if name not in known), None)

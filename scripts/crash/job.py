"""A job without torch over the real store: three chained stages of many files, and a published folder made of them.

All it writes follows from its specs, so that every finished run ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from fastwhisper_compress.pipeline.cache import Removed, clean, entries
from fastwhisper_compress.pipeline.files import copy_tree, read_json, resources, tree, write_json
from fastwhisper_compress.pipeline.publish import left_over, publishing
from fastwhisper_compress.pipeline.seal import SEAL
from fastwhisper_compress.pipeline.store import LOCKS, UNFINISHED, Store

N_FILES = 3
N_ROWS = 3
FILE_BYTES = 10_000


class Place:
    """Where a job works: a store and an output folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "stages", tell=lambda _: None)
        self.out = folder / "runs" / "out"

    def run(self, out: Path | None = None, *, pause_s: float = 0.0) -> None:
        """Do the job; with pauses it is longer at work."""
        store, out = self.store, out or self.out

        def weights(folder: Path) -> None:
            (folder / "layers").mkdir()
            for i in range(N_FILES):
                time.sleep(pause_s)
                (folder / "layers" / f"{i}.bin").write_bytes(_noise(f"weights {i}"))
            self.note("weights")

        def rounded(folder: Path) -> None:
            for path in sorted((first / "layers").iterdir()):
                time.sleep(pause_s)
                (folder / path.name).write_bytes(bytes(byte & 0xF0 for byte in path.read_bytes()))
            write_json(folder / "manifest.json", {"files": N_FILES, "of": first.name})
            self.note("rounded")

        def rows(folder: Path) -> None:
            unfinished = store.unfinished("rows", rows_spec)
            unfinished.mkdir(parents=True, exist_ok=True)
            journal = unfinished / "rows.jsonl"
            lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
            whole = [line for line in lines if line.endswith(b"\n")]
            journal.write_bytes(b"".join(whole))
            with journal.open("ab") as file:
                for i in range(len(whole), N_ROWS):
                    time.sleep(pause_s)
                    file.write(_digest(second / f"{i % N_FILES}.bin").encode() + b"\n")
                    file.flush()
            shutil.copyfile(journal, folder / "rows.jsonl")
            self.note("rows")

        first = store.stage("weights", {"seed": 7}, weights)
        second = store.stage("rounded", {"weights": first.name, "bits": 4}, rounded)
        rows_spec = {"rounded": second.name}
        third = store.stage("rows", rows_spec, rows)
        with resources(out), publishing(out) as draft:
            copy_tree(second, draft, leave_out=SEAL)
            lines = (third / "rows.jsonl").read_text().splitlines()
            write_json(draft / "results.json", {"rows": lines, "manifest": read_json(second / "manifest.json")})

    def with_earlier(self) -> Place:
        """Put an earlier result where the job publishes, so that it has something to replace."""
        self.out.mkdir(parents=True)
        (self.out / "earlier").write_text("earlier")
        return self

    def torn(self, known: str) -> bool:
        """Say whether the output folder is anything but absent, the earlier one or the one of a known digest."""
        return self.out.exists() and digest(self.out) not in (known, _EARLIER)

    def note(self, kind: str) -> None:
        """Write down that a stage was made."""
        with (self.folder / "made").open("a") as file:
            file.write(f"{kind}\n")

    def contents(self) -> dict[str, str]:
        """Return the digest of every finished stage, and what is wrong with those that are not what was written."""
        found = {}
        for one in entries(self.store, every_byte=True):
            found[one.kind] = one.damage or digest(self.store.root / one.kind / one.name)
        return found

    def clean(self, *, unused_s: float | None = None) -> list[Removed]:
        """Do what ``cache gc`` does."""
        return clean(self.store, unused_s=unused_s)

    def rubbish(self) -> list[str]:
        """Return what no finished and cleaned run leaves: drafts, unfinished work, locks."""
        found = []
        for folder in (*self.store.root.iterdir(), self.out.parent):
            found += [str(path) for path in left_over(folder)]
            found += [str(path) for path in folder.iterdir() if path.name.endswith(UNFINISHED)]
        return found + [str(path) for path in (self.store.root / LOCKS).iterdir()]


_EARLIER = hashlib.sha256(f"earlier\0{hashlib.sha256(b'earlier').hexdigest()}\n".encode()).hexdigest()


def digest(folder: Path) -> str:
    """Return the hash of the names and bytes in a folder, the list of a stage's files aside: it holds times."""
    found = hashlib.sha256()
    for path in tree(folder):
        name = path.relative_to(folder).as_posix()
        if name != SEAL and path.is_file():
            found.update(f"{name}\0{_digest(path)}\n".encode())
    return found.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _noise(name: str) -> bytes:
    return hashlib.shake_256(name.encode()).digest(FILE_BYTES)

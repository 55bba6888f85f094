"""The job of ``scripts/crash`` over the real store, in folders that cost no waiting for a disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "cli")]
MEMORY = Path("/dev/shm")  # what a killed process has written is there after it, on a disk or not


@pytest.fixture
def quick():
    """A folder in memory where there is one, since the job flushes every file."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="crash-", dir=where) as name:
        yield Path(name)


@pytest.fixture
def loop(quick):
    """A function: arguments of ``crash_loop.py`` -> what it printed; it must have found nothing wrong."""

    def loop_(*arguments):
        run = subprocess.run(
            [sys.executable, ROOT / "scripts" / "crash_loop.py", *map(str, arguments)],
            env=os.environ | {"TMPDIR": str(quick)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr[-5000:]
        return json.loads(run.stdout)

    return loop_


@pytest.fixture
def start(quick):
    """A function: Python with ``place``, a ``Place`` of the job -> the process, started."""

    def start_(code, *, before=""):
        code = f"{before}\nfrom pathlib import Path\nfrom crash.job import Place\nplace = Place(Path({str(quick)!r}))\n{code}"
        path = os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start_

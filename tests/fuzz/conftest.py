"""The script ``scripts/fuzz.py``, as it is called by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fuzz():
    """A function: arguments -> the exit code, and what was found."""

    def _fuzz(*arguments):
        run = subprocess.run(
            [sys.executable, ROOT / "scripts" / "fuzz.py", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode in (0, 1), run.stderr[-5000:]
        return run.returncode, json.loads(run.stdout)

    return _fuzz

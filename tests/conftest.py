"""Shared by all tests: nothing reaches the network, colours the output or touches the user's own files."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests" / "parity"))  # small_whisper.py, which several folders share
CACHE = pytest.StashKey[str]()

# On a busy machine the time of one example says nothing.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before any test module imports a library that reads it; subprocesses inherit it."""
    config.stash[CACHE] = tempfile.mkdtemp(prefix="fastwhisper-tests-")
    os.environ.update(
        FASTWHISPER_CACHE=config.stash[CACHE],
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        MPLBACKEND="Agg",
        NO_COLOR="1",
        TOKENIZERS_PARALLELISM="false",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the tests cached."""
    shutil.rmtree(config.stash.get(CACHE, ""), ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that is being tested."""
    return ROOT

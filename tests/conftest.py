"""Shared by all tests: nothing reaches the network, colours the output or touches the user's own files.

A whole run takes a process a core, file by file; ``-n 0`` keeps it to one.
"""

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
MOST_WORKERS = 4  # each holds torch and a few models
# What takes longest comes first, so that at the end no worker waits long for the other.
FIRST = ("cli", "integration", "parity", "crash")
# Files that share what takes long to make, which every process would make for itself, or find made by the other.
TOGETHER = (
    ("cli/",),
    ("parity/test_tiny_en.py", "parity/test_openai_whisper.py", "parity/test_word_times.py"),
    ("packaging/",),
)

# On a busy machine the time of one example says nothing.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before any test module imports a library that reads it; subprocesses inherit it."""
    if hasattr(config, "workerinput"):  # one of several processes, that share the cache of the one that started them
        os.environ["OMP_NUM_THREADS"] = "1"
        return
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
    if CACHE in config.stash:
        shutil.rmtree(config.stash[CACHE], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first; all else stays in its order."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return FIRST.index(folder) if folder in FIRST else len(FIRST)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker a core for folders; a file or a test alone is done sooner without."""
    paths = [Path(argument.partition("::")[0]) for argument in config.args]
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if any(path.is_dir() for path in paths) else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Hand out whole files, as modules make things for all their tests."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].removeprefix("tests/")
            return next((group[0] for group in TOGETHER if file.startswith(group)), file)

    config.option.loadscopereorder = False  # which would put files of many tests first, not those that take long
    return Files(config, log)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that is being tested."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def _no_decoder_outlives_the_tests():
    """The process that decodes audio is kept for the next recording, and there is none."""
    yield
    from fastwhisper_compress.runtime.audio_pool import POOL

    POOL.close()

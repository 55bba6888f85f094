"""Where the data that belongs to the package lies: shipped recipes and evaluation suites."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from fastwhisper_compress.errors import BackendError

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: Literal["recipes", "eval"]) -> Path:
    """The folder of shipped data called ``name``.

    An installed wheel carries it inside the package (``_data/``), a checkout has it next to the package.

    Raises:
        BackendError: if neither is there, which means that the installation is damaged.
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise BackendError(
        f"the shipped folder {name!r} is missing from this installation",
        place=str(_PACKAGE),
        remedy="install the package again: pip install --force-reinstall fastwhisper-compress",
    )


def cache_dir() -> Path:
    """Folder for files that can be made again: ``FASTWHISPER_CACHE``, or the platform's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("FASTWHISPER_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("fastwhisper_compress", appauthor=False)


def usable_cpus() -> set[int]:
    """Numbers of the logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))

"""Look at an installation and say what is wrong with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.checkpoint.wheels import PACKAGES, installed_version
from fastwhisper_compress.errors import BackendError, FastWhisperError, ResourceError
from fastwhisper_compress.pipeline.provenance import environment
from fastwhisper_compress.resources import cache_dir


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        environment: Versions and hardware; empty where ONNX Runtime is unusable.
        weights: Model id to the installed version of its weights package, None if it is not installed.
        cache: The cache folder.
        problem: What must be mended, None if nothing.
    """

    environment: dict[str, Any]
    weights: dict[str, str | None]
    cache: str
    problem: FastWhisperError | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        problem = None if self.problem is None else str(self.problem)
        return {"environment": self.environment, "weights": self.weights, "cache": self.cache, "problem": problem}

    def lines(self) -> Iterator[str]:
        """Yield lines for a person."""
        for key, value in self.environment.items():
            if isinstance(value, dict):
                yield from (f"{name:<24}{version}" for name, version in value.items())
            else:
                yield f"{key:<24}{', '.join(value) if isinstance(value, list) else value}"
        for model, version in self.weights.items():
            extra = PACKAGES[model].extra
            yield f"{model:<24}{version or f'not installed (extra: {extra})'}"
        yield f"{'cache':<24}{self.cache}"
        yield "no problem found" if self.problem is None else "one problem found"


def examine() -> Findings:
    """Look at the installation; a problem is returned, not raised."""
    cache = cache_dir()
    found: dict[str, Any] = {}
    problem: FastWhisperError | None = _unwritable(cache)
    try:
        found = environment(None)
    except BackendError as error:
        problem = error  # nothing runs before this is mended
    weights = {name: installed_version(name) for name in PACKAGES}
    return Findings(found, weights, str(cache), problem)


def _unwritable(folder: Path) -> ResourceError | None:
    """Find out by writing: permissions say nothing about a read-only or full disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return ResourceError(
            f"the cache folder cannot be written: {error.strerror or type(error).__name__}",
            place=str(folder),
            remedy="free disk space, or set FASTWHISPER_CACHE to a folder that can be written",
        )

"""Look at an installation and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastwhisper_compress.checkpoint.wheels import PACKAGES, find_weights
from fastwhisper_compress.errors import BackendError
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
    problem: BackendError | None

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
    """Look at the installation; a conflict is returned, not raised."""
    found: dict[str, Any] = {}
    problem = None
    try:
        found = environment(None)
    except BackendError as error:
        problem = error
    weights = {name: located[1] if (located := find_weights(name)) else None for name in PACKAGES}
    return Findings(found, weights, str(cache_dir()), problem)

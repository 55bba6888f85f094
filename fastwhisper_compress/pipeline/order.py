"""What is to be made of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastwhisper_compress.emit.precision import Provider
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.recipe.base import BasePass
from fastwhisper_compress.runtime.manifest import BatchSize, Offload


@dataclass(frozen=True)
class Order:
    """What is to be made; two equal orders are one artifact.

    Attributes:
        passes: The recipe's passes.
        selections: For each of them, the module paths that it acts on.
        provider: Where the graphs will run.
        seed: Of everything drawn at random.
        gate: Least token agreement that the recipe asks for; None takes the shipped gates.
        margin_s: Of an elastic encoder context; None is the full window.
        batch_size: How many clips it decodes together, unless it is told otherwise.
        offload: What leaves memory while it is not needed.
        calibration: Speech to measure activations on; None where no pass does.
    """

    passes: tuple[BasePass, ...]
    selections: tuple[tuple[str, ...], ...]
    provider: Provider
    seed: int
    gate: float | None
    margin_s: float | None
    batch_size: BatchSize = 1
    offload: Offload = "none"
    calibration: Suite | None = None


def described(pass_: BasePass, paths: Sequence[str]) -> Mapping[str, Any]:
    """Return a pass by what it does: its settings, and the modules rather than the patterns that select them."""
    settings = pass_.model_dump(mode="json", exclude={"targets", "ignore", "only_on"})
    return settings | {"modules": list(paths)}

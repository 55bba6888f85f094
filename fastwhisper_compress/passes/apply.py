"""Run a recipe's passes in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.precision import Plan, Precision, Provider
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.precisions import assigned
from fastwhisper_compress.passes.prune import prune
from fastwhisper_compress.passes.smooth import smooth
from fastwhisper_compress.passes.statistics import Statistics
from fastwhisper_compress.recipe.schema import BasePass, Fuse, Int8CrossKv, Prune, Smooth


@dataclass(frozen=True)
class Applied:
    """What one pass did.

    Attributes:
        name: The pass.
        n_modules: How many modules it acted on.
        note: What came of it, in words.
    """

    name: str
    n_modules: int
    note: str


@dataclass(frozen=True)
class Compressed:
    """A checkpoint after its weight passes, and how it is to be written.

    Attributes:
        checkpoint: The weights.
        plan: Precisions and fusions.
        applied: One entry a pass.
        statistics: Calibration as it fits these weights, None if there was none.
    """

    checkpoint: Checkpoint
    plan: Plan
    applied: tuple[Applied, ...]
    statistics: Statistics | None


def apply(
    checkpoint: Checkpoint,
    passes: Sequence[BasePass],
    selections: Sequence[tuple[str, ...]],
    provider: Provider,
    statistics: Statistics | None = None,
) -> Compressed:
    """Run the passes.

    Args:
        checkpoint: The weights to start from; left as they are.
        passes: The recipe's passes.
        selections: For each pass, the module paths that it acts on.
        provider: Where the graphs will run.
        statistics: Calibration of ``checkpoint``; None is enough for passes that change weights without it. (Integers
            are found later, by :func:`fastwhisper_compress.passes.blocks.calibrated_blocks`.)

    Raises:
        RecipeError: A pass needs calibration and there is none.
    """
    precision: dict[str, Precision] = {}
    fuse: set[str] = set()
    cross_int8: set[str] = set()
    applied: list[Applied] = []
    hidden_scale = None
    for pass_, paths in zip(passes, selections, strict=True):
        if isinstance(pass_, Prune):
            checkpoint, note = prune(checkpoint, pass_, paths)
        elif isinstance(pass_, Smooth):
            if statistics is None:
                raise uncalibrated(pass_)
            checkpoint, divisors, note = smooth(checkpoint, pass_, paths, statistics)
            statistics = statistics.divided(divisors)
            hidden_scale = statistics.divisors.get("encoder.layer_norm")
        elif isinstance(pass_, Fuse):
            fuse.update(paths)
            note = "fused operators allowed"
        elif isinstance(pass_, Int8CrossKv):
            cross_int8.update(paths)
            note = "keys and values of the audio in INT8, a scale per clip and channel"
        else:
            chosen, note = assigned(pass_, paths, provider)
            precision.update(chosen)
        applied.append(Applied(pass_.pass_, len(paths), note))
    plan = Plan(precision, frozenset(fuse), provider, frozenset(cross_int8), hidden_scale=hidden_scale)
    return Compressed(checkpoint, plan, tuple(applied), statistics)


def uncalibrated(pass_: BasePass) -> RecipeError:
    """Return the error of a pass that calibrates and has nothing to do so on."""
    return RecipeError(
        f"{pass_.pass_} needs to know what activations look like",
        place="calibration",
        remedy="name calibration speech in the recipe (calibration: my.jsonl), or with --calibration",
    )

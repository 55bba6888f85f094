"""Run a recipe's passes in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.precision import Plan, Precision, Provider
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.drop_layers import drop_layers
from fastwhisper_compress.passes.importance import Importance
from fastwhisper_compress.passes.low_rank import low_rank
from fastwhisper_compress.passes.precisions import assigned
from fastwhisper_compress.passes.prune import prune
from fastwhisper_compress.passes.smooth import smooth
from fastwhisper_compress.passes.statistics import Statistics
from fastwhisper_compress.recipe.base import BasePass
from fastwhisper_compress.recipe.schema import Fuse, Smooth
from fastwhisper_compress.recipe.shapes import DropLayers, LowRank, Prune


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
    importance: Importance | None = None,
) -> Compressed:
    """Run the passes.

    Args:
        checkpoint: The weights to start from; left as they are.
        passes: The recipe's passes.
        selections: For each pass, the module paths that it acts on.
        provider: Where the graphs will run.
        statistics: Calibration of ``checkpoint``; None is enough for passes that change weights without it. (Integers
            are found later, by :func:`fastwhisper_compress.passes.blocks.calibrated_blocks`.)
        importance: Scores of the heads and channels of ``checkpoint``; None where no pass prunes by them.

    Raises:
        RecipeError: A pass needs calibration and there is none.
    """
    precision: dict[str, Precision] = {}
    fuse: set[str] = set()
    applied: list[Applied] = []
    hidden_scale = None
    for pass_, paths in zip(passes, selections, strict=True):
        if isinstance(pass_, Prune):
            if pass_.calibrated and importance is None:
                raise uncalibrated(pass_)
            checkpoint, note = prune(checkpoint, pass_, paths, importance if pass_.calibrated else None)
        elif isinstance(pass_, DropLayers):
            checkpoint, note = drop_layers(checkpoint, pass_)
            statistics = statistics and statistics.renumbered(pass_.kept)
            importance = importance and importance.renumbered(pass_.kept)
        elif isinstance(pass_, LowRank):
            if statistics is None:
                raise uncalibrated(pass_)
            checkpoint, note = low_rank(checkpoint, pass_, paths, statistics)
        elif isinstance(pass_, Smooth):
            if statistics is None:
                raise uncalibrated(pass_)
            checkpoint, divisors, note = smooth(checkpoint, pass_, paths, statistics)
            statistics = statistics.divided(divisors)
            hidden_scale = statistics.divisors.get("encoder.layer_norm")
        elif isinstance(pass_, Fuse):
            fuse.update(paths)
            note = "fused operators allowed"
        else:
            chosen, note = assigned(pass_, paths, provider)
            precision.update(chosen)
        applied.append(Applied(pass_.pass_, len(paths), note))
    plan = Plan(precision, frozenset(fuse), provider, hidden_scale=hidden_scale)
    return Compressed(checkpoint, plan, tuple(applied), statistics)


def uncalibrated(pass_: BasePass) -> RecipeError:
    """Return the error of a pass that calibrates and has nothing to do so on."""
    return RecipeError(
        f"{pass_.pass_} needs to know what activations look like",
        place="calibration",
        remedy="name calibration speech in the recipe (calibration: my.jsonl), or with --calibration",
    )

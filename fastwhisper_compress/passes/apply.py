"""Run a recipe's passes in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

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
from fastwhisper_compress.recipe.learning import Training
from fastwhisper_compress.recipe.schema import Fuse, Int8CrossKv, Smooth, WeightOnly
from fastwhisper_compress.recipe.shapes import DropLayers, LowRank, Prune

_T = TypeVar("_T")
Learn = Callable[[int, Checkpoint, Plan], tuple[Checkpoint, str]]
"""Trains: takes the number of the pass, the weights and how they will be written; returns new weights, and a note."""


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
    learn: Learn | None = None,
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
        learn: Trains; None is enough where no pass does.

    Raises:
        RecipeError: A pass needs calibration and there is none, or what it needs no longer fits.
    """
    plan, notes = planned(passes, selections, provider)
    applied: list[Applied] = []
    for number, (pass_, paths) in enumerate(zip(passes, selections, strict=True)):
        if isinstance(pass_, Prune):
            scores = _heard(importance, pass_) if pass_.calibrated else None
            checkpoint, note = prune(checkpoint, pass_, paths, scores)
        elif isinstance(pass_, DropLayers):
            kept = pass_.kept(checkpoint.dims.depths)
            checkpoint, note = drop_layers(checkpoint, kept)
            statistics = statistics and statistics.renumbered(kept)
            importance = importance and importance.renumbered(kept)
        elif isinstance(pass_, LowRank):
            checkpoint, note = low_rank(checkpoint, pass_, paths, _heard(statistics, pass_))
        elif isinstance(pass_, Smooth):
            checkpoint, divisors, note = smooth(checkpoint, pass_, paths, _heard(statistics, pass_))
            statistics = _heard(statistics, pass_).divided(divisors)
            plan = replace(plan, hidden_scale=statistics.divisors.get("encoder.layer_norm"))
        elif isinstance(pass_, Training):
            checkpoint, note = _heard(learn, pass_)(number, checkpoint, plan)
        else:
            note = notes[number]
        applied.append(Applied(pass_.pass_, len(paths), note))
    return Compressed(checkpoint, plan, tuple(applied), statistics)


def planned(
    passes: Sequence[BasePass], selections: Sequence[tuple[str, ...]], provider: Provider
) -> tuple[Plan, dict[int, str]]:
    """Return how the weights will be written, and what each pass that decides it says, by its number.

    No weights are needed: training knows the precisions whose passes come behind it.

    Raises:
        RecipeError: A pass goes by what was heard of weights that training changes, or a setting has no effect.
    """
    _check_calibrations(passes)
    precision: dict[str, Precision] = {}
    fuse: set[str] = set()
    cross_int8: set[str] = set()
    notes: dict[int, str] = {}
    for number, (pass_, paths) in enumerate(zip(passes, selections, strict=True)):
        if isinstance(pass_, Fuse):
            fuse.update(paths)
            notes[number] = "fused operators allowed"
        elif isinstance(pass_, Int8CrossKv):
            cross_int8.update(paths)
            notes[number] = "keys and values of the audio in INT8, over the range of each clip and channel"
        elif pass_.stage == "precision":
            chosen, notes[number] = assigned(pass_, paths, provider)
            precision.update(chosen)
    return Plan(precision, frozenset(fuse), provider, frozenset(cross_int8)), notes


def _heard(value: _T | None, pass_: BasePass) -> _T:
    """Return what a pass needs of speech, or raise that it is not there."""
    if value is None:
        raise uncalibrated(pass_)
    return value


def _check_calibrations(passes: Sequence[BasePass]) -> None:
    """Refuse to use what was heard of weights that training has changed since."""
    trained = next((number for number, pass_ in enumerate(passes) if isinstance(pass_, Training)), None)
    if trained is None:
        return
    for number, pass_ in enumerate(passes):
        if isinstance(pass_, WeightOnly) and pass_.calibrated:
            remedy = "set method: nearest, and let qat win what calibration would"
        elif pass_.calibrated and not isinstance(pass_, Training) and number > trained:
            remedy = "put it before the training"
        else:
            continue
        raise RecipeError(
            f"{passes[trained].pass_} changes the weights, and with them the activations that {pass_.pass_} knows",
            place=pass_.pass_,
            remedy=remedy,
        )


def uncalibrated(pass_: BasePass) -> RecipeError:
    """Return the error of a pass that listens and has nothing to listen to."""
    needs = "speech to learn from" if isinstance(pass_, Training) else "to know what activations look like"
    return RecipeError(
        f"{pass_.pass_} needs {needs}",
        place="calibration",
        remedy="name calibration speech in the recipe (calibration: my.jsonl), or with --calibration",
    )

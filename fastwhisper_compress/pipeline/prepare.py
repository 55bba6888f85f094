"""What a run needs before anything is made: the recipe, the checkpoint, the speech, and who is to make the artifacts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.evaluation.suite import Suite, load_suite
from fastwhisper_compress.pipeline.build import Builder, Report
from fastwhisper_compress.pipeline.calibrate import check_disjoint
from fastwhisper_compress.pipeline.gates import load_gates
from fastwhisper_compress.pipeline.margins import margin_s
from fastwhisper_compress.pipeline.order import Order
from fastwhisper_compress.pipeline.output import check_output
from fastwhisper_compress.pipeline.seal import key
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.pipeline.sweep import check_sizes
from fastwhisper_compress.pipeline.train import Teacher
from fastwhisper_compress.recipe import LoadedRecipe, Recipe, Training, check_against, load_recipe
from fastwhisper_compress.resources import cache_dir
from fastwhisper_compress.runtime.session import require_provider

BASELINE_RECIPE = "fp32"
SIDES = ("baseline", "candidate")

Step = Callable[[str], AbstractContextManager[None]]
"""Takes the time of a step."""


@dataclass(frozen=True)
class Request:
    """A run as the user asked for it.

    Attributes:
        recipe: Name of a shipped recipe, or a file.
        overrides: Settings that replace those of the recipe, each ``key=value``.
        out: The output folder; None takes ``runs/RECIPE-MODEL`` below the working folder.
        limit: Measure the first so many utterances only; the results are then marked not comparable.
        offline: Go to no hub.
        batch_sweep: Batch sizes to measure the artifact's speed and memory at besides; empty for none.
        every_byte: Hash every file of the finished stages that are used.
        processes: How many processes share the work of passes that train.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    out: Path | None = None
    limit: int | None = None
    offline: bool = False
    batch_sweep: tuple[int, ...] = ()
    every_byte: bool = False
    processes: int = 1


@dataclass(frozen=True)
class Job:
    """A run that can begin.

    Attributes:
        loaded: The recipe.
        out: The output folder.
        checkpoint: The weights.
        suite: What is scored.
        store: Keeps the stages.
        builders: Of the baseline and of the candidate.
        orders: What each of them is to make.
    """

    loaded: LoadedRecipe
    out: Path
    checkpoint: Checkpoint
    suite: Suite
    store: Store
    builders: tuple[Builder, Builder]
    orders: tuple[Order, Order]


def prepare(request: Request, report: Report, step: Step) -> Job:
    """Load what a run needs, and refuse what cannot be done before any long work.

    Raises:
        FastWhisperError: Whatever is wrong; nothing was written.
    """
    loaded = load_recipe(request.recipe, request.overrides)
    recipe = loaded.recipe
    limited = "" if request.limit is None else f"-limit{request.limit}"
    out = request.out or Path("runs") / f"{recipe.name}-{Path(recipe.model).name}{limited}"
    check_output(out)
    require_provider(recipe.provider)
    with step("open checkpoint"):
        report("open checkpoint", 0, 1)
        checkpoint = open_checkpoint(recipe.model, revision=recipe.revision, offline=request.offline)
        plain = load_recipe(BASELINE_RECIPE, (f"provider={recipe.provider}",))
        baseline = order_of(plain, checkpoint)
        candidate = order_of(loaded, checkpoint)
    with step("load suite"):
        report("load suite", 0, 1)
        suite = load_suite(recipe.suite, limit=request.limit, offline=request.offline)
        check_sizes(request.batch_sweep, suite)
        gates = load_gates()
        parity = load_suite(gates.suite)
        calibration = _calibration(recipe, suite, parity, offline=request.offline)
    store = Store(cache_dir() / "stages", tell=lambda what: report(what, 0, 1), every_byte=request.every_byte)
    tell = [on_side(side, report) for side in SIDES]
    first = Builder(store, checkpoint, gates, parity, tell[0])
    names = {one.teacher for one in recipe.active if isinstance(one, Training) and one.teacher is not None}
    teachers = {}
    for name in sorted(names):
        taught_by = open_checkpoint(name, offline=request.offline)
        teachers[name] = _teacher(
            Builder(store, taught_by, gates, parity, tell[1]), order_of(plain, taught_by), taught_by
        )
    second = Builder(store, checkpoint, gates, parity, tell[1], teachers=teachers, processes=request.processes)
    candidate = replace(candidate, calibration=calibration)
    second.check(candidate)  # what cannot be made is refused before the baseline is
    return Job(loaded, out, checkpoint, suite, store, (first, second), (baseline, candidate))


def _teacher(builder: Builder, order: Order, checkpoint: Checkpoint) -> Teacher:
    """Return a teacher other than the model itself; it is proved in FP32 as the model is."""
    spec = builder.specs(order, None)[-1][1]
    return Teacher(checkpoint, key(spec), lambda: builder.build(order, None))


def on_side(side: str, report: Report) -> Report:
    """Say of which side the progress is."""
    return lambda what, done, of: report(f"{side}: {what}", done, of)


def order_of(loaded: LoadedRecipe, checkpoint: Checkpoint) -> Order:
    """Return what a recipe orders of a checkpoint; the calibration, if it needs one, is still to be chosen.

    Raises:
        RecipeError: The recipe does not fit the model.
    """
    recipe = loaded.recipe
    gate = None if recipe.gate is None else recipe.gate.token_agreement
    return Order(
        passes=tuple(recipe.active),
        selections=check_against(loaded, modules(checkpoint.dims)),
        provider=recipe.provider,
        seed=recipe.seed,
        gate=gate,
        margin_s=margin_s(loaded, checkpoint),
        batch_size=recipe.batch_size,
        offload=recipe.offload,
    )


def _calibration(recipe: Recipe, scored: Suite, parity: Suite, *, offline: bool) -> Suite | None:
    """Return the speech to calibrate on, none of which is scored or decides the gate; None where no pass asks for it."""
    if not any(pass_.calibrated for pass_ in recipe.active):
        return None
    suite = load_suite(recipe.calibration, limit=recipe.calibration_limit, offline=offline, transcripts=False)
    for other in {one.digest: one for one in (scored, parity)}.values():  # often the same suite
        check_disjoint(suite, other)
    return suite

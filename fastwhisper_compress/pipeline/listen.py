"""What the passes of an order hear: measured, judged and learnt from, each a stage of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.passes.apply import Compressed, Learn, apply, planned, uncalibrated
from fastwhisper_compress.passes.importance import Importance
from fastwhisper_compress.passes.statistics import Statistics
from fastwhisper_compress.pipeline.calibrate import calibrate, calibration_spec
from fastwhisper_compress.pipeline.judge import KIND as JUDGEMENT
from fastwhisper_compress.pipeline.judge import judge, judgement_spec
from fastwhisper_compress.pipeline.order import Order, described
from fastwhisper_compress.pipeline.seal import key
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.pipeline.train import KIND, LABELS, Course, Progress, Teacher, check_course, train_stage
from fastwhisper_compress.recipe.base import BasePass
from fastwhisper_compress.recipe.learning import Training
from fastwhisper_compress.recipe.shapes import Prune

Specs = list[tuple[str, dict[str, Any]]]
"""The kind of each stage, and what decides it."""


class Listener:
    """Runs the passes of orders of one checkpoint, with what they need of speech."""

    def __init__(
        self,
        store: Store,
        checkpoint: Checkpoint,
        report: Progress,
        *,
        teachers: Mapping[str, Teacher],
        processes: int,
    ) -> None:
        """Hold what all orders share.

        Args:
            store: Keeps what is heard.
            checkpoint: The weights to start from.
            report: Called with what is going on, and how much of how much is done.
            teachers: Whom students learn from, by the names in the recipe, besides the checkpoint itself.
            processes: How many processes train together.
        """
        self._store = store
        self._checkpoint = checkpoint
        self._report = report
        self._teachers = teachers
        self._processes = processes

    def check(self, order: Order) -> None:
        """Refuse what cannot be learnt, before any long work.

        Raises:
            RecipeError: The teacher does not fit, or a setting has no effect or no meaning.
        """
        plan, _ = planned(order.passes, order.selections, order.provider)
        for pass_ in order.passes:
            if isinstance(pass_, Training):
                teacher = self._checkpoint if pass_.teacher is None else self._teachers[pass_.teacher].checkpoint
                check_course(pass_, self._checkpoint, teacher, plan)

    def specs(self, order: Order, baseline: str | None) -> Specs:
        """Return the stages that an order's passes need, in the order of making.

        Args:
            order: What to make.
            baseline: Name of the stage of the FP32 artifact; None if there is none yet.

        Raises:
            RecipeError: A pass calibrates and the order names no calibration, or no FP32 artifact that listens to it.
        """
        asking = [pass_ for pass_ in order.passes if pass_.calibrated]
        if asking and (order.calibration is None or baseline is None):
            raise uncalibrated(asking[0])
        found = list(self._listened(order, baseline).items())
        own = None if baseline is None else self._store.root / "artifact" / baseline
        for course in self._courses(order, own).values():
            found += [(LABELS, course.labels_spec), (KIND, course.spec)]
        return found

    def compress(self, order: Order, baseline: Path | None, learnt: list[dict[str, Any]]) -> Compressed:
        """Run the passes of an order, and what they listen to, and write nothing.

        Args:
            order: What to make.
            baseline: The FP32 artifact, which listens; None is enough where no pass calibrates.
            learnt: Is given the log of every training.

        Raises:
            RecipeError: A pass calibrates and the order names no calibration, or there is no FP32 artifact.
        """
        statistics, importance = self._statistics(order, baseline), self._importance(order, baseline)
        learn = self._learn(order, baseline, learnt)
        return apply(self._checkpoint, order.passes, order.selections, order.provider, statistics, importance, learn)

    def _learn(self, order: Order, baseline: Path | None, logs: list[dict[str, Any]]) -> Learn:
        """Return what trains a pass, and adds to the logs."""
        courses = self._courses(order, baseline)

        def learn(number: int, student: Checkpoint, plan: Plan) -> tuple[Checkpoint, str]:
            course = replace(courses[number], plan=plan)  # which now knows what smoothing did
            found = train_stage(self._store, course, student, self._processes, self._report)
            logs.append(found.log)
            return found.checkpoint, found.note

        return learn

    def _courses(self, order: Order, baseline: Path | None) -> dict[int, Course]:
        """Return the trainings of an order by the number of their pass; none where there is nothing to learn from."""
        if order.calibration is None or baseline is None:
            return {}
        plan, _ = planned(order.passes, order.selections, order.provider)
        listened = {kind: key(spec) for kind, spec in self._listened(order, baseline.name).items()}
        own = Teacher(self._checkpoint, baseline.name, lambda: baseline)
        before: list[Mapping[str, Any]] = []
        found: dict[int, Course] = {}
        for number, (pass_, paths) in enumerate(zip(order.passes, order.selections, strict=True)):
            if isinstance(pass_, Training):
                start = {
                    "checkpoint": self._checkpoint.digest,
                    "passes": list(before),
                    "listened": listened,
                    "trained": [key(course.spec) for course in found.values()],
                }
                teacher = own if pass_.teacher is None else self._teachers[pass_.teacher]
                found[number] = Course(pass_, paths, teacher, order.calibration, order.seed, start, plan)
            elif pass_.stage == "weights":
                before.append(described(pass_, paths))
        return found

    def _listened(self, order: Order, baseline: str | None) -> dict[str, dict[str, Any]]:
        """Return what decides the stages that listen to the calibration for passes that do not learn, by their kind."""
        if order.calibration is None or baseline is None:
            return {}
        found = {}
        if _measuring(order.passes):
            found["calibration"] = calibration_spec(self._checkpoint, baseline, order.calibration)
        if _judging(order.passes):
            found[JUDGEMENT] = judgement_spec(self._checkpoint, baseline, order.calibration)
        return found

    def _statistics(self, order: Order, baseline: Path | None) -> Statistics | None:
        if order.calibration is None or baseline is None or not _measuring(order.passes):
            return None

        def progress(done: int, of: int) -> None:
            self._report("calibrate", done, of)

        return calibrate(self._store, self._checkpoint, baseline, order.calibration, progress)

    def _importance(self, order: Order, baseline: Path | None) -> Importance | None:
        if order.calibration is None or baseline is None or not _judging(order.passes):
            return None

        def progress(done: int, of: int) -> None:
            self._report("judge heads and channels", done, of)

        return judge(self._store, self._checkpoint, baseline, order.calibration, progress)


def _judging(passes: Sequence[BasePass]) -> bool:
    """Say whether a pass prunes by scores."""
    return any(isinstance(pass_, Prune) and pass_.calibrated for pass_ in passes)


def _measuring(passes: Sequence[BasePass]) -> bool:
    """Say whether a pass goes by statistics of activations; one that learns listens to the speech itself."""
    return any(pass_.calibrated and not isinstance(pass_, Prune | Training) for pass_ in passes)

"""Which stages of a run are there already, which are to be made, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.pipeline.auto_batch import settle_batch
from fastwhisper_compress.pipeline.build import Report
from fastwhisper_compress.pipeline.evaluate import KIND, evaluation_spec
from fastwhisper_compress.pipeline.files import read_json, resources
from fastwhisper_compress.pipeline.prepare import SIDES, Job, Request, prepare
from fastwhisper_compress.pipeline.seal import SEAL, damage
from fastwhisper_compress.pipeline.store import Store

_LONGEST = 48  # characters of a value that is shown
_MOST = 2  # differences of one part of a spec that are shown


@dataclass(frozen=True)
class Stage:
    """A stage of a run.

    Attributes:
        side: ``baseline`` or ``candidate``, or the latter ``without offload``.
        kind: ``calibration``, ``importance``, ``labels``, ``training``, ``artifact`` or ``evaluation``.
        name: Hash of what decides it; None where that is not known before the artifact is made.
        cached: Whether it is there and sound.
        why: Why it is to be made; None if it is there.
    """

    side: str
    kind: str
    name: str | None
    cached: bool
    why: str | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def explain(request: Request, report: Report) -> list[Stage]:
    """Return the stages of a run in their order, making none of them; a batch sweep is left out.

    Raises:
        FastWhisperError: What a run would be refused for before any long work.
    """
    job = prepare(request, report, lambda _: nullcontext())
    with resources(job.store.root):
        artifacts: list[Path] = []
        found: list[Stage] = []
        for side, builder, order in zip(SIDES, job.builders, job.orders, strict=True):
            baseline = artifacts[0].name if artifacts and order != job.orders[0] else None
            specs = builder.specs(order, baseline)
            found += [_stage(job.store, side, kind, spec) for kind, spec in specs]
            artifacts.append(job.store.path(*specs[-1]))
        return [*found, *_evaluations(job, artifacts)]


def _evaluations(job: Job, artifacts: list[Path]) -> Iterator[Stage]:
    recipe = job.loaded.recipe
    there = [artifact.is_dir() and damage(artifact, every_byte=job.store.every_byte) is None for artifact in artifacts]
    asked: list[tuple[str, int, dict[str, Any]]] = [(side, i, {}) for i, side in enumerate(SIDES)]
    if recipe.offload != "none":
        asked.append((f"{SIDES[1]} without offload", 1, {"offload": "none"}))
    for side, i, changes in asked:
        if not there[i]:
            yield Stage(side, KIND, None, cached=False, why="its artifact is to be made")
            continue
        if recipe.batch_size == "auto" and not all(there):
            yield Stage(side, KIND, None, cached=False, why="the batch is chosen when both artifacts are made")
            continue
        batch_size, _ = settle_batch(recipe.batch_size, artifacts, threads=recipe.threads, tell=lambda _: None)
        workload: dict[str, Any] = {
            "provider": recipe.provider,
            "threads": recipe.threads,
            "batch_size": batch_size,
            **changes,
        }
        yield _stage(job.store, side, KIND, evaluation_spec(artifacts[i], job.suite, **workload))


def _stage(store: Store, side: str, kind: str, spec: Mapping[str, Any]) -> Stage:
    final = store.path(kind, spec)
    if not final.is_dir():
        return Stage(side, kind, final.name, cached=False, why=_news(final.parent, spec))
    wrong = damage(final, every_byte=store.every_byte)
    return Stage(side, kind, final.name, wrong is None, None if wrong is None else f"damaged: {wrong}")


def _news(kind: Path, spec: Mapping[str, Any]) -> str:
    """Return what tells a stage from the most similar one of its kind."""
    now = _leaves(json.loads(json.dumps(spec)))
    nearest: tuple[str, dict[str, str]] | None = None
    for path in sorted(kind.glob(f"*/{SEAL}")):
        try:
            before = _leaves(read_json(path)["spec"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged, and so nothing to compare with
        changes = {name: _change(before.get(name), now.get(name)) for name in now.keys() | before.keys()}
        changes = {name: changes[name] for name in sorted(changes) if before.get(name) != now.get(name)}
        if nearest is None or len(changes) < len(nearest[1]):
            nearest = path.parent.name, changes
    if nearest is None:
        return "no other of its kind was made yet"
    return f"differs from {nearest[0][:8]} in {'; '.join(_summary(nearest[1]))}"


def _summary(changes: Mapping[str, str]) -> Iterator[str]:
    """Yield the changes, a few of each part."""
    parts: dict[str, list[str]] = {}
    for name in changes:
        parts.setdefault(name.partition(".")[0].partition("[")[0], []).append(name)
    for names in parts.values():
        yield from (f"{name} {changes[name]}" for name in names[:_MOST])
        if len(names) > _MOST:
            yield f"and {len(names) - _MOST} more of {names[0].partition('.')[0].partition('[')[0]}"


def _change(before: Any, now: Any) -> str:
    if before is None or now is None:
        return f"(new: {_shown(now)})" if before is None else f"(no longer: {_shown(before)})"
    if max(len(str(before)), len(str(now))) > _LONGEST:  # a digest, or a list of modules
        return "(another)"
    return f"({_shown(before)} -> {_shown(now)})"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Return the values of a spec by their path; a list of plain values is one value."""
    if isinstance(value, dict) and value:
        pairs = [(f"{name}.{key}" if name else key, one) for key, one in value.items()]
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        pairs = [(f"{name}[{i}]", one) for i, one in enumerate(value)]
    else:
        return {name: json.dumps(value, ensure_ascii=False)}
    return {path: leaf for key, one in pairs for path, leaf in _leaves(one, key).items()}

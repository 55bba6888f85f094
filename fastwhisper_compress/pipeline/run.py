"""The main job: a recipe in, an artifact with its tradeoff report out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.evaluation.measure import Evaluation, compare
from fastwhisper_compress.evaluation.result import offload_price
from fastwhisper_compress.evaluation.suite import Suite, list_suites
from fastwhisper_compress.memory.auto_batch import BatchChoice
from fastwhisper_compress.pipeline.auto_batch import settle_batch
from fastwhisper_compress.pipeline.build import Report, artifact_part, public_id
from fastwhisper_compress.pipeline.evaluate import evaluate
from fastwhisper_compress.pipeline.files import copy_tree, read_json, resources
from fastwhisper_compress.pipeline.output import check_output
from fastwhisper_compress.pipeline.predict import predicted
from fastwhisper_compress.pipeline.prepare import BASELINE_RECIPE, SIDES, Request, on_side, prepare
from fastwhisper_compress.pipeline.provenance import environment
from fastwhisper_compress.pipeline.publish import publishing
from fastwhisper_compress.pipeline.seal import SEAL
from fastwhisper_compress.pipeline.sweep import sweep
from fastwhisper_compress.recipe import LoadedRecipe
from fastwhisper_compress.report import Results, read_rows, render, verdict
from fastwhisper_compress.report.model import SCHEMA_VERSION
from fastwhisper_compress.resources import data_dir

_TOLD_APART = (
    "model",
    "suite",
    "calibration",
    "provider",
)  # by name in the results; the paths behind the names are nobody's business


@dataclass
class _Clock:
    """Seconds that each step took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 3)


def run(request: Request, report: Report) -> tuple[Path, Results]:
    """Make an artifact, verify it, measure it beside its FP32 baseline, and write the report.

    Args:
        request: What to do.
        report: Called with what is going on, and how much of how much is done.

    Returns:
        The output folder and the results.

    Raises:
        FastWhisperError: Whatever went wrong; the output folder is then as it was before.
    """
    clock = _Clock()
    started = time.perf_counter()
    job = prepare(request, report, clock.step)
    recipe, suite, store = job.loaded.recipe, job.suite, job.store
    folders: list[Path] = []
    evaluations: list[Evaluation] = []
    for side, builder, order in zip(SIDES, job.builders, job.orders, strict=True):
        with clock.step(f"build {side}"):
            folders.append(builder.build(order, folders[0] if folders and order != job.orders[0] else None))
    # One batch for both sides: their speeds are compared.
    batch_size, auto_batch = settle_batch(
        recipe.batch_size, folders, threads=recipe.threads, tell=lambda what: report(what, 0, 1)
    )
    evaluated = partial(evaluate, store, provider=recipe.provider, threads=recipe.threads)
    for side, folder in zip(SIDES, folders, strict=True):
        with clock.step(f"evaluate {side}"):
            evaluations.append(evaluated(folder, suite, on_side(side, report), batch_size=batch_size))
    price = None
    if recipe.offload != "none":
        with clock.step("evaluate without offload"):
            tell = on_side("without offload", report)
            plain = evaluated(folders[1], suite, tell, batch_size=batch_size, offload="none")
        price = offload_price(plain, evaluations[1], recipe.offload)
    throughput = None
    if request.batch_sweep:
        with clock.step("batch sweep"):
            throughput = sweep(
                request.batch_sweep,
                suite,
                lambda clips, size: evaluated(folders[1], clips, on_side(f"batch {size}", report), batch_size=size),
            )
    clock.seconds["total"] = round(time.perf_counter() - started, 3)

    results = _results(
        request=request,
        loaded=job.loaded,
        checkpoint=job.checkpoint,
        suite=suite,
        folders=folders,
        evaluations=evaluations,
        price=price,
        auto_batch=auto_batch,
        throughput=throughput,
        seconds=clock.seconds,
    )
    report("write report", 0, 1)
    _publish(results, evaluations, folders[1], job.out)
    report("write report", 1, 1)
    return job.out, results


def _publish(results: Results, evaluations: Sequence[Evaluation], artifact: Path, out: Path) -> None:
    """Put the artifact, the rows, the results and the report into the output folder, all or nothing."""
    check_output(out)  # again: someone may have put something there meanwhile
    with resources(out), publishing(out) as draft:
        copy_tree(artifact, draft, leave_out=SEAL)
        (draft / "eval").mkdir()
        for side, evaluation in zip(SIDES, evaluations, strict=True):
            _write_rows(draft / "eval" / f"{side}.jsonl", evaluation)
        results.save(draft / "results.json")
        rows = [read_rows(draft / "eval" / f"{side}.jsonl") for side in SIDES]
        render(results, rows[0], rows[1], draft)


def _results(
    *,
    request: Request,
    loaded: LoadedRecipe,
    checkpoint: Checkpoint,
    suite: Suite,
    folders: Sequence[Path],
    evaluations: Sequence[Evaluation],
    price: dict[str, Any] | None,
    auto_batch: BatchChoice | None,
    throughput: dict[str, Any] | None,
    seconds: dict[str, float],
) -> Results:
    recipe = loaded.recipe
    names = (BASELINE_RECIPE, recipe.name)
    sides = [_side(*parts) for parts in zip(names, folders, evaluations, strict=True)]
    saved = {
        "size_saved_pct": _saved(sides, "artifact", "size_on_disk_bytes"),
        "weight_saved_pct": _saved(sides, "memory", "weight_bytes"),
    }
    results = Results.from_json(
        {
            "schema_version": SCHEMA_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "comparable": request.limit is None,
            "not_comparable_because": None if request.limit is None else f"--limit {request.limit}",
            "recipe": {
                "name": recipe.name,
                "shipped": loaded.path.parent == data_dir("recipes"),
                "description": recipe.description,
                "digest": recipe.digest,
                "provider": recipe.provider,
                "encoder_margin_s": read_json(folders[1] / "manifest.json")["encoder_context"]["margin_s"],
                "calibration": read_json(folders[1] / "manifest.json")["calibration"],
                "passes": [pass_.model_dump(mode="json", exclude={"only_on"}) for pass_ in recipe.active],
                "overrides": [one for one in loaded.overrides if one.partition("=")[0].strip() not in _TOLD_APART],
            },
            "model": {
                "id": public_id(checkpoint.source),
                "digest": checkpoint.digest,
                "parameters": checkpoint.n_parameters,
                "dims": asdict(checkpoint.dims),
                "source_kind": checkpoint.source.kind,
                "revision": checkpoint.source.revision,
            },
            "suite": {
                "name": suite.name,
                "shipped": recipe.suite in list_suites(),
                "digest": suite.digest,
                "language": suite.language,
                "synthetic": suite.synthetic,
                "license": suite.license,
                "revision": suite.revision,
                "n_utterances": len(suite.utterances),
                "limit": suite.limit,
            },
            "baseline": sides[0],
            "candidate": sides[1],
            "delta": compare(evaluations[0], evaluations[1], seed=recipe.seed) | saved,
            "offload": price,
            "auto_batch": None if auto_batch is None else auto_batch.to_json(),
            "training": read_json(folders[1] / "manifest.json")["training"],
            "throughput": throughput,
            "environment": environment(recipe.threads),
            "verdict": "",
            "timings_s": seconds,
        }
    )
    return results.model_copy(update={"verdict": verdict(results)})


def _side(name: str, folder: Path, evaluation: Evaluation) -> dict[str, Any]:
    manifest = read_json(folder / "manifest.json")
    parts = evaluation.to_json()
    weights = {key: manifest[key] for key in ("weight_bytes", "weight_bytes_by_precision")}
    return {
        "recipe": name,
        "artifact": artifact_part(folder),
        "memory": parts["memory"] | weights | {"predicted": predicted(manifest, evaluation)},
        "eval": parts["eval"],
        "verify": manifest["verify"],
    }


def _saved(sides: Sequence[dict[str, Any]], part: str, key: str) -> float:
    before, after = (side[part][key] for side in sides)
    return float(100 * (1 - after / before))


def _write_rows(path: Path, evaluation: Evaluation) -> None:
    import json

    lines = [json.dumps(asdict(row), ensure_ascii=False) for row in evaluation.rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")

"""The main job: a recipe in, an artifact with its tradeoff report out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.errors import OutOfMemoryError
from fastwhisper_compress.evaluation.measure import Evaluation, compare, measure, restore
from fastwhisper_compress.evaluation.result import offload_price
from fastwhisper_compress.evaluation.suite import Suite, list_suites, load_suite
from fastwhisper_compress.memory.auto_batch import BatchChoice
from fastwhisper_compress.pipeline.advice import shrunk, with_advice
from fastwhisper_compress.pipeline.auto_batch import settle_batch
from fastwhisper_compress.pipeline.build import Builder, Order, Report, artifact_part, check_files, public_id
from fastwhisper_compress.pipeline.calibrate import check_disjoint
from fastwhisper_compress.pipeline.gates import load_gates
from fastwhisper_compress.pipeline.margins import margin_s
from fastwhisper_compress.pipeline.output import check_output
from fastwhisper_compress.pipeline.predict import predicted
from fastwhisper_compress.pipeline.provenance import code_digest, cpu_name, environment, package_versions
from fastwhisper_compress.pipeline.store import Store, publishing, read_json, resources, write_json
from fastwhisper_compress.pipeline.sweep import check_sizes, sweep
from fastwhisper_compress.recipe import LoadedRecipe, Recipe, check_against, load_recipe
from fastwhisper_compress.report import Results, read_rows, render, verdict
from fastwhisper_compress.report.model import SCHEMA_VERSION
from fastwhisper_compress.resources import cache_dir, data_dir, usable_cpus
from fastwhisper_compress.runtime.manifest import Offload
from fastwhisper_compress.runtime.session import require_provider

_BASELINE_RECIPE = "fp32"
_SIDES = ("baseline", "candidate")
_TOLD_APART = (
    "model",
    "suite",
    "calibration",
    "provider",
)  # by name in the results; the paths behind the names are nobody's business


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
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    out: Path | None = None
    limit: int | None = None
    offline: bool = False
    batch_sweep: tuple[int, ...] = ()


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
    loaded = load_recipe(request.recipe, request.overrides)
    recipe = loaded.recipe
    limited = "" if request.limit is None else f"-limit{request.limit}"
    out = request.out or Path("runs") / f"{recipe.name}-{Path(recipe.model).name}{limited}"
    check_output(out)
    require_provider(recipe.provider)
    with clock.step("open checkpoint"):
        report("open checkpoint", 0, 1)
        checkpoint = open_checkpoint(recipe.model, revision=recipe.revision, offline=request.offline)
        orders = [order_of(one, checkpoint) for one in (_baseline(recipe.provider), loaded)]
    with clock.step("load suite"):
        report("load suite", 0, 1)
        suite = load_suite(recipe.suite, limit=request.limit, offline=request.offline)
        check_sizes(request.batch_sweep, suite)
        gates = load_gates()
        parity = load_suite(gates.suite)
        calibration = _calibration(recipe, suite, parity, offline=request.offline)
        orders[1] = replace(orders[1], calibration=calibration)

    store = Store(cache_dir() / "stages")
    folders: list[Path] = []
    evaluations: list[Evaluation] = []
    builders = [Builder(store, checkpoint, gates, parity, _on(side, report)) for side in _SIDES]
    builders[1].check(orders[1])  # what cannot be made is refused before the baseline is
    for side, builder, order in zip(_SIDES, builders, orders, strict=True):
        with clock.step(f"build {side}"):
            folders.append(builder.build(order, folders[0] if folders and order != orders[0] else None))
    # One batch for both sides: their speeds are compared.
    batch_size, auto_batch = settle_batch(
        recipe.batch_size, folders, threads=recipe.threads, tell=lambda what: report(what, 0, 1)
    )
    evaluated = partial(evaluate, store, provider=recipe.provider, threads=recipe.threads)
    for side, folder in zip(_SIDES, folders, strict=True):
        with clock.step(f"evaluate {side}"):
            evaluations.append(evaluated(folder, suite, _on(side, report), batch_size=batch_size))
    price = None
    if recipe.offload != "none":
        with clock.step("evaluate without offload"):
            tell = _on("without offload", report)
            plain = evaluated(folders[1], suite, tell, batch_size=batch_size, offload="none")
        price = offload_price(plain, evaluations[1], recipe.offload)
    throughput = None
    if request.batch_sweep:
        with clock.step("batch sweep"):
            throughput = sweep(
                request.batch_sweep,
                suite,
                lambda clips, size: evaluated(folders[1], clips, _on(f"batch {size}", report), batch_size=size),
            )
    clock.seconds["total"] = round(time.perf_counter() - started, 3)

    results = _results(
        request=request,
        loaded=loaded,
        checkpoint=checkpoint,
        suite=suite,
        folders=folders,
        evaluations=evaluations,
        price=price,
        auto_batch=auto_batch,
        throughput=throughput,
        seconds=clock.seconds,
    )
    report("write report", 0, 1)
    _publish(results, evaluations, folders[1], out)
    report("write report", 1, 1)
    return out, results


def _publish(results: Results, evaluations: Sequence[Evaluation], artifact: Path, out: Path) -> None:
    """Put the artifact, the rows, the results and the report into the output folder, all or nothing."""
    check_output(out)  # again: someone may have put something there meanwhile
    with resources(out), publishing(out) as draft:
        shutil.copytree(artifact, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("stage.json"))
        (draft / "eval").mkdir()
        for side, evaluation in zip(_SIDES, evaluations, strict=True):
            _write_rows(draft / "eval" / f"{side}.jsonl", evaluation)
        results.save(draft / "results.json")
        rows = [read_rows(draft / "eval" / f"{side}.jsonl") for side in _SIDES]
        render(results, rows[0], rows[1], draft)


def _on(side: str, report: Report) -> Report:
    """Say of which side the progress is."""
    return lambda what, done, of: report(f"{side}: {what}", done, of)


def evaluate(
    store: Store,
    artifact: Path,
    suite: Suite,
    report: Report,
    *,
    provider: str,
    threads: int | None,
    batch_size: int,
    backend: str = "onnxruntime",
    offload: Offload | None = None,
) -> Evaluation:
    """Measure an artifact on a suite in a fresh process, unless the store has the result.

    ``offload`` None takes what the artifact says. Interrupted rows are kept outside the stage, and the next call goes on
    after them. When memory runs out it goes on with smaller batches, and reports that.

    Raises:
        OutOfMemoryError: There was not enough memory for one clip at a time.
    """
    threads = threads or len(usable_cpus())
    check_files(artifact)
    spec = {
        "artifact": read_json(artifact / "manifest.json"),
        "suite": suite.digest,
        "provider": provider,
        "backend": backend,
        "offload": offload,
        "threads": threads,
        "batch_size": batch_size,
        "cpu": cpu_name(),
        "code": code_digest("runtime", "transcription", "evaluation"),
        "versions": package_versions(
            (
                "onnxruntime",
                "onnxruntime-gpu",
                "openvino",
                "numpy",
                "openai-whisper",
                "silero-vad",
                "jiwer",
                "soxr",
                "soundfile",
                "av",
            )
        ),
    }
    final = store.path("evaluation", spec)
    unfinished = final.parent / f"{final.name}.rows"

    def make(folder: Path) -> None:
        rows = unfinished / "rows.jsonl"
        try:
            found = measure(
                artifact,
                suite,
                rows,
                threads=threads,
                provider=provider,
                backend=backend,
                batch_size=batch_size,
                offload=offload,
                on_progress=lambda n, of: report("evaluate", n, of),
                on_shrink=lambda before, after: report(shrunk(before, after), 0, 1),
            )
        except OutOfMemoryError as error:
            raise with_advice(error, artifact) from error
        shutil.copyfile(rows, folder / "rows.jsonl")
        write_json(folder / "evaluation.json", found.to_json())

    folder = store.stage("evaluation", spec, make)
    shutil.rmtree(unfinished, ignore_errors=True)
    found = restore(read_json(folder / "evaluation.json"), suite, folder / "rows.jsonl")
    if found.process["recoveries"]:  # that memory ran out is true of this run, and need not be of the next
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _baseline(provider: str) -> LoadedRecipe:
    return load_recipe(_BASELINE_RECIPE, (f"provider={provider}",))


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
    names = (_BASELINE_RECIPE, recipe.name)
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
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

"""The commands that do the work: compress, measure, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastwhisper_compress.cli.app import (
    AsJson,
    Backend,
    BatchSize,
    Limit,
    Offline,
    Override,
    OwnBackend,
    OwnProvider,
    Provider,
    Threads,
    app,
    setting,
)
from fastwhisper_compress.cli.output import say, say_json

if TYPE_CHECKING:
    from fastwhisper_compress.pipeline.prepare import Request


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe by name, or a file.")],
    out: Annotated[Path | None, typer.Option(help="Output folder; runs/RECIPE-MODEL by default.")] = None,
    model: Annotated[str | None, typer.Option(help="Checkpoint: id, folder or file.")] = None,
    suite: Annotated[str | None, typer.Option(help="Evaluation suite: name, manifest (.jsonl) or .yaml.")] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Speech to calibrate on, never what is scored: name, manifest or .yaml.")
    ] = None,
    provider: Annotated[Provider | None, typer.Option(help="Where the artifact is to run.")] = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
    batch_sweep: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Measure speed and memory at these batch sizes too.")
    ] = None,
    limit: Limit = None,
    offline: Offline = False,
    override: Override = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash every file of the finished stages that are used.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, max=1024, help="How many processes share the work of passes that train.")
    ] = 1,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which stages are there, which are to be made and why; make nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compress, export, verify, measure and report: the whole job."""
    from fastwhisper_compress import console
    from fastwhisper_compress.pipeline.prepare import Request
    from fastwhisper_compress.pipeline.run import run as run_recipe
    from fastwhisper_compress.pipeline.sweep import parse_sizes

    named = {
        "model": model,
        "suite": suite,
        "calibration": calibration,
        "provider": provider,
        "threads": threads,
        "batch_size": batch_size,
    }
    overrides = [*(override or []), *(setting(key, value) for key, value in named.items() if value is not None)]
    sizes = () if batch_sweep is None else parse_sizes(batch_sweep)
    request = Request(recipe, tuple(overrides), out, limit, offline, sizes, every_byte=verify, processes=processes)
    if explain:
        _explain(request, as_json=as_json)
        return
    with console.progress() as report:
        folder, results = run_recipe(request, report)
    if as_json:
        say_json(results.to_json())
        return
    console.show(console.results_table(results))
    say(f"\n{results.verdict}\n\nartifact and report: {folder}/report.html")


def _explain(request: Request, *, as_json: bool) -> None:
    from fastwhisper_compress import console
    from fastwhisper_compress.pipeline.explain import explain as explain_run

    with console.progress() as report:
        stages = explain_run(request, report)
    if as_json:
        say_json([one.to_json() for one in stages])
        return
    for one in stages:
        state = "is there" if one.cached else f"to be made: {one.why}"
        say(f"{one.side}: {one.kind} {(one.name or '')[:8]}".rstrip() + f": {state}")


@app.command(name="eval")
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An artifact: the --out folder of a run.")],
    suite: Annotated[str, typer.Option(help="Evaluation suite: name, manifest (.jsonl) or .yaml.")] = "demo",
    provider: OwnProvider = None,
    backend: OwnBackend = Backend.ONNXRUNTIME,
    threads: Threads = None,
    batch_size: BatchSize = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Measure one artifact on a suite: error rate, speed, memory."""
    from fastwhisper_compress import console
    from fastwhisper_compress.evaluation.suite import load_suite
    from fastwhisper_compress.pipeline.auto_batch import settle_batch
    from fastwhisper_compress.pipeline.evaluate import evaluate as evaluate_artifact
    from fastwhisper_compress.pipeline.store import Store
    from fastwhisper_compress.resources import cache_dir
    from fastwhisper_compress.runtime.manifest import read_manifest

    manifest = read_manifest(artifact, provider)
    with console.progress() as report:
        loaded = load_suite(suite, limit=limit, offline=offline)
        settled, auto_batch = settle_batch(
            batch_size or manifest.batch_size,
            [artifact],
            threads=threads,
            backend=backend.value,
            tell=lambda what: report(what, 0, 1),
        )
        found = evaluate_artifact(
            Store(cache_dir() / "stages", tell=lambda what: report(what, 0, 1)),
            artifact,
            loaded,
            report,
            provider=manifest.provider,
            threads=threads,
            batch_size=settled,
            backend=backend,
        )
    parts: dict[str, Any] = {
        "artifact": str(artifact),
        "suite": loaded.name,
        "limit": limit,
        "backend": backend,
        "auto_batch": None if auto_batch is None else auto_batch.to_json(),
        **found.to_json(),
    }
    if as_json:
        say_json(parts)
        return
    figures, memory = parts["eval"], parts["memory"]
    say(
        f"{figures['metric'].upper()} {figures['wer']:.2%} on {figures['n_utterances']} utterances of {loaded.name}"
        f"{' (synthetic speech)' if loaded.synthetic else ''}{f' (--limit {limit}: not comparable)' if limit else ''}\n"
        f"speed {figures['rtfx']:.1f} x real time, load {figures['load_s']:.2f} s, "
        f"peak RSS {memory['peak_rss_bytes'] / 1e6:.1f} MB, {figures['threads']} threads"
    )
    if figures["recordings"]:
        say("\n".join(console.recordings_lines(figures["recordings"], figures["metric"])))
    say("\n".join(console.memory_lines(memory["trace"])))
    if figures["resumed_rows"]:
        say(f"memory is that after the first {figures['resumed_rows']} utterances, where it was resumed", err=True)
    for failure in figures["failed"]:
        say(f"failed: {failure['id']}: {failure['error']}", err=True)


@app.command()
def margin(
    artifact: Annotated[Path, typer.Argument(help="An artifact: the --out folder of a run.")],
    suite: Annotated[
        str, typer.Option(help="Clips to try it on: name, manifest (.jsonl) or .yaml; needs no transcripts.")
    ],
    margins: Annotated[str, typer.Option(help="Seconds to try.")] = "4,6,8,10",
    threads: Threads = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Find the margin of an elastic encoder context for a model."""
    from dataclasses import asdict

    from fastwhisper_compress import console
    from fastwhisper_compress.errors import UsageError
    from fastwhisper_compress.evaluation.suite import load_suite
    from fastwhisper_compress.pipeline.margins import best_margin, try_margins

    try:
        seconds = [float(one) for one in margins.split(",")]
    except ValueError:
        seconds = []
    if not seconds or not all(0 <= one <= 30 for one in seconds):
        raise UsageError(f"not a list of seconds: {margins!r}", place="--margins", remedy="write it as 4,6,8,10")
    with console.progress() as report:
        loaded = load_suite(suite, limit=limit, offline=offline, transcripts=False)
        trials = try_margins(artifact, loaded, seconds, lambda n, of: report("try margins", n, of), threads=threads)
    best = best_margin(trials)
    if as_json:
        say_json({"trials": [asdict(one) for one in trials], "elastic_margin_s": best})
        return
    say("margin  differs from full window     WER  redone    RTFx")
    for one in trials:
        name = "full" if one.margin_s is None else f"{one.margin_s:g} s"
        errors = "" if one.wer is None else f"{one.wer:.2%}"
        say(f"{name:>6}  {one.difference:24.2%}  {errors:>6}  {one.redone:6}  {one.rtfx:6.1f}")
    none = "no margin is both near the full window and faster: keep encoder_context: full"
    say(f"\n{none if best is None else f'elastic_margin_s: {best:g}'}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs on one suite.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("comparison"),
    as_json: AsJson = False,
) -> None:
    """Put several runs on one Pareto report."""
    from fastwhisper_compress.report.compare import compare as compare_runs

    found = compare_runs(runs, out)
    if as_json:
        say_json(found)
        return
    say(f"{out}/report.html")

"""The command line. Every command reads arguments, calls one function below, and prints.

Exit codes: 0 success, 1 a bug, 2 bad recipe or usage, 3 gate or parity failed, 4 missing backend, 5 unsafe input refused,
6 resources, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fastwhisper_compress import __version__
from fastwhisper_compress.errors import FastWhisperError, ResourceError


class _Commands(TyperGroup):
    """The commands, and what is said when one of them is cut short."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = ctx.invoked_subcommand in ("run", "eval")
            hint = "; what is finished is kept, run the same command to go on" if kept else ""
            typer.echo(f"interrupted{hint}", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # whoever reads our output has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(0) from None


class Provider(StrEnum):
    """Where an artifact runs."""

    CPU = "cpu"
    CUDA = "cuda"


class Backend(StrEnum):
    """What runs the encoder."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Task(StrEnum):
    """What is written down."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


app = typer.Typer(
    cls=_Commands,
    name="fastwhisper-compress",
    help="Compress a Whisper checkpoint, export it to ONNX, and prove what that cost.",
    epilog="Exit codes: 0 success, 1 a bug, 2 bad recipe or usage, 3 gate or parity failed, 4 missing backend, "
    "5 unsafe input refused, 6 resources (memory, disk, network), 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
recipes_app = typer.Typer(help="The recipes that ship with the package.", no_args_is_help=True)
app.add_typer(recipes_app, name="recipes")

Override = Annotated[
    list[str] | None, typer.Option("-o", "--override", metavar="KEY=VALUE", help="Replace a setting of the recipe.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Offline = Annotated[bool, typer.Option("--offline", help="Go to no hub: use local files and caches only.")]
OwnProvider = Annotated[Provider | None, typer.Option(help="What it was written for, and the default.")]
OwnBackend = Annotated[Backend, typer.Option("--backend", help="What runs the encoder; openvino is an extra.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all usable cores by default.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Clips to transcribe together; by default what the recipe says.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N utterances; marks results not comparable.")]


def main() -> None:
    """Run the command line and exit with the documented code."""
    try:
        app(standalone_mode=True)
    except FastWhisperError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except MemoryError:
        typer.echo("error: out of memory\n  remedy: use a smaller model, or free memory", err=True)
        sys.exit(ResourceError.exit_code)
    except Exception as error:  # noqa: BLE001 - the last place where it can be told apart from a mistake of the user
        _exit_if_out_of_memory(error)
        traceback.print_exc()
        typer.echo("this is a bug in fastwhisper-compress: please report it with the lines above", err=True)
        sys.exit(1)


def _exit_if_out_of_memory(error: Exception) -> None:
    """Libraries say that memory has run out in classes of their own."""
    from fastwhisper_compress.runtime.out_of_memory import translated

    if known := translated(error):
        typer.echo(f"error: {known}", err=True)
        sys.exit(known.exit_code)


def _setting(key: str, value: str | int) -> str:
    """Write an option as an override, quoted so that YAML takes text for text, as a folder called 1 or null."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


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
    limit: Limit = None,
    offline: Offline = False,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Compress, export, verify, measure and report: the whole job."""
    from fastwhisper_compress import console
    from fastwhisper_compress.pipeline.run import Request
    from fastwhisper_compress.pipeline.run import run as run_recipe

    named = {
        "model": model,
        "suite": suite,
        "calibration": calibration,
        "provider": provider,
        "threads": threads,
        "batch_size": batch_size,
    }
    overrides = [*(override or []), *(_setting(key, value) for key, value in named.items() if value is not None)]
    with console.progress() as report:
        folder, results = run_recipe(Request(recipe, tuple(overrides), out, limit, offline), report)
    if as_json:
        typer.echo(json.dumps(results.to_json(), ensure_ascii=False))
        return
    console.show(console.results_table(results))
    typer.echo(f"\n{results.verdict}\n\nartifact and report: {folder}/report.html")


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
    from fastwhisper_compress.pipeline.run import evaluate as evaluate_artifact
    from fastwhisper_compress.pipeline.store import Store
    from fastwhisper_compress.resources import cache_dir
    from fastwhisper_compress.runtime.manifest import read_manifest

    manifest = read_manifest(artifact, provider)
    with console.progress() as report:
        loaded = load_suite(suite, limit=limit, offline=offline)
        found = evaluate_artifact(
            Store(cache_dir() / "stages"),
            artifact,
            loaded,
            report,
            provider=manifest.provider,
            threads=threads,
            batch_size=batch_size or manifest.batch_size,
            backend=backend,
        )
    parts: dict[str, Any] = {
        "artifact": str(artifact),
        "suite": loaded.name,
        "limit": limit,
        "backend": backend,
        **found.to_json(),
    }
    if as_json:
        typer.echo(json.dumps(parts, ensure_ascii=False))
        return
    figures, memory = parts["eval"], parts["memory"]
    typer.echo(
        f"{figures['metric'].upper()} {figures['wer']:.2%} on {figures['n_utterances']} utterances of {loaded.name}"
        f"{' (synthetic speech)' if loaded.synthetic else ''}{f' (--limit {limit}: not comparable)' if limit else ''}\n"
        f"speed {figures['rtfx']:.1f} x real time, load {figures['load_s']:.2f} s, "
        f"peak RSS {memory['peak_rss_bytes'] / 1e6:.1f} MB, {figures['threads']} threads"
    )
    for failure in figures["failed"]:
        typer.echo(f"failed: {failure['id']}: {failure['error']}", err=True)


@app.command()
def transcribe(
    artifact: Annotated[Path, typer.Argument(help="An artifact: the --out folder of a run.")],
    files: Annotated[list[Path], typer.Argument(help="Audio files of at most 30 s.")],
    language: Annotated[str | None, typer.Option(help="Spoken language, such as de; English by default.")] = None,
    task: Annotated[Task, typer.Option(help="translate writes English.")] = Task.TRANSCRIBE,
    provider: OwnProvider = None,
    backend: OwnBackend = Backend.ONNXRUNTIME,
    threads: Threads = None,
    batch_size: BatchSize = None,
    as_json: AsJson = False,
) -> None:
    """Transcribe audio files with an artifact."""
    from fastwhisper_compress.errors import AudioError, BackendError, OutOfMemoryError
    from fastwhisper_compress.pipeline.advice import shrunk, with_advice
    from fastwhisper_compress.runtime import load_artifact
    from fastwhisper_compress.runtime.audio import MAX_CLIP_S, SAMPLE_RATE, read_audio
    from fastwhisper_compress.runtime.batching import Clip, transcribe_all

    def read(file: Path) -> Clip | FastWhisperError:
        try:
            return Clip(read_audio(file, max_s=MAX_CLIP_S), language)
        except (AudioError, BackendError) as error:  # BackendError: one format needs an optional package
            return error

    def tell(before: int, after: int) -> None:
        typer.echo(shrunk(before, after), err=True)

    rows: list[dict[str, Any]] = []
    failures: list[FastWhisperError] = []
    try:
        model = load_artifact(artifact, threads=threads, provider=provider, backend=backend)
        size = batch_size or model.manifest.batch_size
        heard = transcribe_all(model, map(read, files), size, task=task, on_shrink=tell)
        for file, found in zip(files, heard, strict=True):
            if isinstance(found, FastWhisperError):
                found.place = found.place or str(file)
                failures.append(found)
                typer.echo(f"error: {found}", err=True)
                continue
            duration = round(found.clip.samples.size / SAMPLE_RATE, 3)
            text, tokens = found.transcript.text, list(found.transcript.tokens)
            rows.append({"file": str(file), "text": text, "tokens": tokens, "duration_s": duration})
            if not as_json:
                typer.echo(f"{file}: {text}" if len(files) > 1 else text)
    except OutOfMemoryError as error:
        raise with_advice(error, artifact) from error
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    if failures:
        raise typer.Exit(failures[0].exit_code)


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
        typer.echo(json.dumps({"trials": [asdict(one) for one in trials], "elastic_margin_s": best}))
        return
    typer.echo("margin  differs from full window     WER  redone    RTFx")
    for one in trials:
        name = "full" if one.margin_s is None else f"{one.margin_s:g} s"
        errors = "" if one.wer is None else f"{one.wer:.2%}"
        typer.echo(f"{name:>6}  {one.difference:24.2%}  {errors:>6}  {one.redone:6}  {one.rtfx:6.1f}")
    none = "no margin is both near the full window and faster: keep encoder_context: full"
    typer.echo(f"\n{none if best is None else f'elastic_margin_s: {best:g}'}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs on one suite.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("comparison"),
    as_json: AsJson = False,
) -> None:
    """Put several runs on one Pareto report."""
    from fastwhisper_compress.report.compare import compare as compare_runs

    found = compare_runs(runs, out)
    typer.echo(json.dumps(found, ensure_ascii=False) if as_json else f"{out}/report.html")


@app.command()
def validate(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe by name, or a file.")],
    model: Annotated[str | None, typer.Option(help="Check patterns against this checkpoint.")] = None,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Check a recipe, and its patterns against the model if that is on this machine."""
    from fastwhisper_compress.checkpoint.dims import modules
    from fastwhisper_compress.checkpoint.open import open_checkpoint
    from fastwhisper_compress.errors import HubUnavailableError
    from fastwhisper_compress.recipe import check_against, load_recipe

    overrides = [*(override or []), *([_setting("model", model)] if model else [])]
    loaded = load_recipe(recipe, overrides)
    name, selected, why = loaded.recipe.model, None, None
    try:
        checkpoint = open_checkpoint(name, revision=loaded.recipe.revision, offline=True)
    except HubUnavailableError as error:
        if model:
            raise
        why = f"patterns not checked: {name} is not on this machine ({error.message})"
    else:
        selected = check_against(loaded, modules(checkpoint.dims))
    if as_json:
        paths = None if selected is None else [list(one) for one in selected]
        typer.echo(json.dumps({"valid": True, "model": name, "selected": paths, "not_checked": why}))
        return
    typer.echo(f"{loaded.path}: valid")
    for index, pass_ in enumerate(loaded.recipe.active):
        typer.echo(f"  {pass_.pass_}" + ("" if selected is None else f": {len(selected[index])} modules of {name}"))
    if why:
        typer.echo(why)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes."""
    from fastwhisper_compress.recipe import json_schema_text

    typer.echo(json_schema_text(), nl=False)


@recipes_app.command(name="list")
def list_shipped(as_json: AsJson = False) -> None:
    """List the shipped recipes."""
    from fastwhisper_compress.recipe import list_recipes, load_recipe

    found = {name: load_recipe(path).recipe.description for name, path in list_recipes().items()}
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, description in found.items():
        typer.echo(f"{name}\n    {description}")


@recipes_app.command(name="show")
def show_shipped(name: Annotated[str, typer.Argument(help="Name of a shipped recipe.")]) -> None:
    """Print a shipped recipe."""
    from fastwhisper_compress.recipe import find_recipe

    typer.echo(find_recipe(name).read_text(encoding="utf-8"), nl=False)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this installation: packages, providers, weights, cache."""
    from fastwhisper_compress.doctor import examine

    found = examine()
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        for line in found.lines():
            typer.echo(line)
    if found.problem is not None:
        raise found.problem

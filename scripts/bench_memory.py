"""Compare estimated with measured memory: phase by phase, for models, recipes and batches.

    python scripts/bench_memory.py --models tiny.en,base --recipes fp32,int8_dynamic --batches 1,4,8

Every cell is a fresh process that transcribes the longest clips of a suite, one batch after another; artifacts are made
(or taken from the cache) first. `--overhead` measures the runtime itself on a Whisper of a few hundred kilobytes, which is
where the constants of fastwhisper_compress/memory/runtime.py come from. Writes memory-cpu.json and .md.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.evaluation.measure import Evaluation, measure
from fastwhisper_compress.evaluation.suite import Suite, load_suite
from fastwhisper_compress.memory.estimate import estimate
from fastwhisper_compress.memory.layout import layout_of
from fastwhisper_compress.memory.runtime import CPU, Running, error_of_estimate
from fastwhisper_compress.memory.working_set import Workload
from fastwhisper_compress.pipeline.build import Builder
from fastwhisper_compress.pipeline.files import read_json
from fastwhisper_compress.pipeline.gates import load_gates
from fastwhisper_compress.pipeline.predict import PROMPT_TOKENS
from fastwhisper_compress.pipeline.prepare import order_of
from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.recipe import load_recipe
from fastwhisper_compress.resources import cache_dir

ROOT = Path(__file__).resolve().parent.parent
CLIPS = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every cell and write the table."""
    parser = argparse.ArgumentParser(description="Compare estimated with measured memory.")
    parser.add_argument("--models", default="tiny.en,base", help="checkpoints (default: %(default)s)")
    parser.add_argument("--recipes", default="fp32,int8_dynamic,int8_weight_only", help="(default: %(default)s)")
    parser.add_argument("--batches", default="1,4,8", help="(default: %(default)s)")
    parser.add_argument("--suite", default="demo", help="speech (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime (default: %(default)s)")
    parser.add_argument("--overhead", action="store_true", help="measure the runtime on a Whisper without weights")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "baselines", help="folder (default: %(default)s)")
    args = parser.parse_args(argv)
    suite = longest(load_suite(args.suite), CLIPS)
    header = {
        "cpu": cpu_name(),
        "threads": args.threads,
        "platform": platform.platform(),
        "versions": package_versions(("onnxruntime", "numpy")),
        "runtime_bytes": CPU.bytes,
        "overhead": overhead(suite, args.threads) if args.overhead else None,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for model in args.models.split(","):
        folders = artifacts(model, args.recipes.split(","))
        for recipe, folder in folders.items():
            for batch in map(int, args.batches.split(",")):
                print(f"memory: {model}, {recipe}, batch {batch}", file=sys.stderr)
                found = transcribe(folder, suite, batch, args.threads)
                rows += cells(model, recipe, folder, found, batch, args.threads)
                write(args.out, header, rows)  # what is measured is kept, whatever comes
    print(args.out / "memory-cpu.md")
    return 0


def write(out: Path, header: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write both files."""
    text = json.dumps(header | {"rows": rows}, indent=2) + "\n"
    (out / "memory-cpu.json").write_text(text, encoding="utf-8")
    (out / "memory-cpu.md").write_text(table(header, rows), encoding="utf-8")


def longest(suite: Suite, n: int) -> Suite:
    """Return the suite's longest clips, which make the longest texts; every clip is encoded as 30 s."""
    chosen = sorted(suite.utterances, key=lambda one: -len(one.text))[:n]
    return replace(suite, utterances=tuple(chosen), limit=n)


def artifacts(model: str, recipes: Sequence[str]) -> dict[str, Path]:
    """Make the artifacts of a model, FP32 first: the others are verified against it."""
    store, gates = Store(cache_dir() / "stages"), load_gates()
    checkpoint, parity = open_checkpoint(model, offline=True), load_suite(gates.suite)

    def report(what: str, done: int, of: int) -> None:
        if not done:
            print(f"memory: {model}: {what} {of}", file=sys.stderr)

    builder = Builder(store, checkpoint, gates, parity, report)
    plain = builder.build(order_of(load_recipe("fp32"), checkpoint), None)
    found = {"fp32": plain}
    for name in recipes:
        if name != "fp32":
            found[name] = builder.build(order_of(load_recipe(name), checkpoint), plain)
    return {name: found[name] for name in recipes}


def transcribe(folder: Path, suite: Suite, batch: int, threads: int) -> Evaluation:
    """Transcribe the suite in a fresh process."""
    with tempfile.TemporaryDirectory() as scratch:
        return measure(folder, suite, Path(scratch) / "rows.jsonl", threads=threads, batch_size=batch)


def cells(model: str, recipe: str, folder: Path, found: Evaluation, batch: int, threads: int) -> list[dict[str, Any]]:
    """Return a row a phase: what was said and what came."""
    tokens = max(len(row.tokens) for row in found.rows) + PROMPT_TOKENS
    different = len({token for row in found.rows for token in row.tokens})
    work = Workload(batch, tokens=tokens, vocabulary=different)
    said = estimate(layout_of(read_json(folder / "manifest.json")), work, Running(threads))
    measured = {one["phase"]: one["peak_rss_bytes"] for one in found.process["trace"]["phases"]}
    # The process grows and hardly shrinks: the peak of a phase is at least that of the one before it.
    rows, highest = [], 0
    for phase in said.phases:
        highest = max(highest, measured[phase]) if phase != "load" else measured[phase]
        told, came = said.phase_bytes(phase), highest
        error = error_of_estimate(told, came, "cpu")
        rows.append(
            {
                "model": model,
                "recipe": recipe,
                "batch": batch,
                "phase": phase,
                "predicted_bytes": told,
                "measured_bytes": came,
                "error_of_process": told / came - 1,
                "error_without_runtime": error,
                "parts": said.phases[phase],
            }
        )
    return rows


def overhead(suite: Suite, threads: int) -> dict[str, int]:
    """Measure a process whose model is next to nothing."""
    import numpy as np

    from fastwhisper_compress.checkpoint.dims import Dims, modules, tensor_shapes
    from fastwhisper_compress.checkpoint.model import Checkpoint
    from fastwhisper_compress.emit.artifact import GRAPHS, emit
    from fastwhisper_compress.emit.precision import Plan
    from fastwhisper_compress.runtime.manifest import FORMAT, SCHEMA_VERSION

    real = open_checkpoint("tiny.en", offline=True)
    dims = Dims(80, real.dims.n_vocab, 64, 4, 4, 1, 1, 256, 256)
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in tensor_shapes(dims).items()}
    small = Checkpoint(dims, tensors, real.decoding, real.tokenizer_json, real.source)
    folder = Path(tempfile.mkdtemp())
    try:
        written = emit(small, Plan(fuse=frozenset(one.path for one in modules(dims))), folder)
        manifest = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "provider": "cpu",
            "graphs": GRAPHS,
            "encoder_context": {"margin_s": None},
            "batch_size": 1,
            "offload": "none",
            "modules": [one.to_json() for one in written.modules],
            "layers": None,
            "decoding": real.decoding.to_json(),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        found = transcribe(folder, replace(suite, utterances=suite.utterances[:2]), 1, threads)
    finally:
        shutil.rmtree(folder)
    phases = {one["phase"]: one for one in found.process["trace"]["phases"]}
    return {
        "imports_bytes": found.process["rss_imports_bytes"],
        "after_load_bytes": found.process["rss_after_load_bytes"],
        "peak_bytes": found.process["peak_rss_bytes"],
        "weights_bytes": 4 * small.n_parameters,
        "decode_bytes": phases["decode"]["peak_rss_bytes"],
    }


def table(header: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "# Memory, estimated and measured",
        "",
        f"{header['cpu']}, {header['threads']} threads. Made by `python scripts/bench_memory.py`; a fresh process for each model,",
        "recipe and batch. Measured is the peak of resident memory in the phase. The error is that of weights, caches and",
        f"activations: {header['runtime_bytes'] / 1e6:.0f} MB of runtime are taken off both sides.",
        "",
        "| model | recipe | batch | phase | estimated | measured | error |",
        "| :-- | :-- | --: | :-- | --: | --: | --: |",
    ]
    lines += [
        f"| {row['model']} | {row['recipe']} | {row['batch']} | {row['phase']} | {row['predicted_bytes'] / 1e6:.0f} MB "
        f"| {row['measured_bytes'] / 1e6:.0f} MB | {100 * row['error_without_runtime']:+.0f} % |"
        for row in rows
    ]
    worst = max(rows, key=lambda row: abs(row["error_without_runtime"]))
    within = sum(abs(row["error_without_runtime"]) <= 0.15 for row in rows)
    where = f"{worst['model']} {worst['recipe']} at batch {worst['batch']}, {worst['phase']}"
    off = f"{100 * worst['error_without_runtime']:+.0f} %"
    lines += ["", f"{within} of {len(rows)} cells are within 15 %; the worst is {where}: {off}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

"""Measure which kernel each kind of layer should have, what it holds in memory, and how sessions should be opened.

    python scripts/bench_kernels.py
    python scripts/bench_kernels.py --quick --clips clips.jsonl

Layers are written by the emitter itself, from the real checkpoints: all layers of a kind side by side in one graph, in
every kernel and block size. A round calls every kernel once, at each number of rows. Memory is that of a fresh process.
Session settings are compared on the recipe int8_dynamic of the last model, a fresh process each, round by round.
Linux only; needs ONNX Runtime for CPU. ``--quick`` tries everything once and says nothing about speed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import decode, write
from kernel_bench.layers import (
    CONTRAST,
    EMBEDDING,
    KINDS,
    LOGITS,
    SHIPPING,
    TIED,
    Kind,
    fits,
    operators,
    weight_bytes,
    width,
    write_layers,
    write_tied,
)
from kernel_bench.processes import RECIPE, Probe, compare_settings, write_artifact
from kernel_bench.settings import DEVICE_ALLOCATOR, FILE_BUFFERS, IN_MEMORY, NO_PREPACKING, SETTINGS, SHIPPED
from kernel_bench.summary import markdown
from kernel_bench.timing import Effort, time_kernels

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.errors import FastWhisperError
from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions
from fastwhisper_compress.resources import usable_cpus

ROOT = Path(__file__).resolve().parent.parent
ENCODER_ROWS = (1500, 750)  # a 30 s window, and half of one
DECODER_ROWS = (1, 2, 4, 8, 16)  # a step of so many texts; 4 is also the prompt of a multilingual model
FULL, QUICK = Effort(5, 1.2, 200), Effort(2, 0.0, 2)
MEMORY_SETTINGS = (SHIPPED, DEVICE_ALLOCATOR, FILE_BUFFERS, IN_MEMORY, NO_PREPACKING)
MEMORY_KERNELS = ("fp32", "int8_dynamic", "nbits8/128", "nbits4/32")
LOOKUPS = 200


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure kernels, their memory, and session settings.")
    parser.add_argument("--models", default="tiny.en,base", help="checkpoints, as ids or sizes (default: %(default)s)")
    parser.add_argument("--kinds", help=f"only these kinds of layer, of: {', '.join(kind.name for kind in KINDS)}")
    parser.add_argument(
        "--clips", default="demo", help="suite or NeMo manifest for the settings (default: %(default)s)"
    )
    parser.add_argument("--n-clips", type=int, default=6, help="how many clips of it (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often a setting is measured (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two calls each, one round, for trying the script")
    parser.add_argument("--json", type=Path, default=ROOT / "eval" / "baselines" / "kernels.json", metavar="OUT")
    args = parser.parse_args(argv)
    known = {kind.name: kind for kind in KINDS}
    args.kinds = list(known.values()) if args.kinds is None else [known.get(name) for name in args.kinds.split(",")]
    if None in args.kinds:
        parser.error(f"--kinds: choose from {', '.join(known)}")
    if args.rounds < 1 or args.threads < 1 or args.n_clips < 1:
        parser.error("--rounds, --threads and --n-clips start at 1")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write the figures and the tables."""
    args = arguments(argv)
    try:
        result = measure(args)
    except FastWhisperError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write(args.json, result)
    args.json.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure all that the command line asks for; each model is written as it is done, so that a stop leaves it."""
    began = time.monotonic()
    result: dict[str, Any] = {
        "schema_version": 1,
        "command": _command(args),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cpu_int8": _int8_instructions(),
        "cores": len(usable_cpus()),
        "load_before": os.getloadavg()[0],
        "platform": platform.platform(),
        "threads": args.threads,
        "quick": args.quick,
        "versions": package_versions(("onnxruntime", "numpy")),
        "models": {},
    }
    models = list(dict.fromkeys(args.models.split(",")))
    for model in models:
        checkpoint = open_checkpoint(model)
        with tempfile.TemporaryDirectory(prefix="kernels-") as folder:
            probe = Probe(Path(folder), args.threads)
            layers = [measure_kind(checkpoint, kind, probe, args.quick) for kind in args.kinds]
            entry: dict[str, Any] = {"d_model": checkpoint.dims.d_model, "layers": layers}
            if LOGITS in args.kinds:
                entry["tied"] = measure_tied(checkpoint, probe)
            result["models"][model] = entry
            write(args.json, result)
            if model == models[-1]:
                result["settings"] = measure_settings(args, checkpoint, Path(folder))
                result["settings"]["model"] = model
    result["took_s"] = round(time.monotonic() - began)
    return result


def measure_kind(checkpoint: Checkpoint, kind: Kind, probe: Probe, quick: bool) -> dict[str, Any]:
    """Measure every kernel of one kind of layer: time, bytes, memory."""
    tell(f"{checkpoint.source.id}: {kind.name}")
    with tempfile.TemporaryDirectory(dir=probe.folder) as folder:
        kernels = [kernel for kernel in (*SHIPPING, *CONTRAST) if fits(checkpoint, kind, kernel)]
        graphs = {
            kernel.name: write_layers(checkpoint, kind, kernel, Path(folder) / str(i))
            for i, kernel in enumerate(kernels)
        }
        n_in = width(checkpoint, kind)
        if kind is LOGITS:
            shapes: dict[int, tuple[int, ...]] = {n: (n, n_in) for n in DECODER_ROWS}
        elif kind.side == "decoder":
            shapes = {n: (n, 1, n_in) for n in DECODER_ROWS}
        else:
            shapes = {n: (1, n, n_in) for n in ENCODER_ROWS}
        few = [kernel.name for kernel in CONTRAST]
        times = time_kernels(graphs, shapes, probe.threads, QUICK if quick else FULL, few)
        memory = {
            kernel.name: {
                "operators": operators(graphs[kernel.name]),
                "weight_bytes": weight_bytes(graphs[kernel.name]),
                **probe.memory(graphs[kernel.name]),
            }
            for kernel in kernels
            if kernel in SHIPPING
        }
        entry: dict[str, Any] = {"kind": kind.name, "side": kind.side, "inputs": n_in, "memory": memory}
        entry["layers"] = 1 if kind is LOGITS else kind.n_layers(checkpoint)
        entry["rows"] = [{"rows": n, "kernels": found} for n, found in times.items()]
        if kind.name == "encoder fc1":
            entry["memory_settings"] = {
                setting.name: {name: probe.memory(graphs[name], setting=setting) for name in MEMORY_KERNELS}
                for setting in MEMORY_SETTINGS
            }
    return entry


def measure_tied(checkpoint: Checkpoint, probe: Probe) -> list[dict[str, Any]]:
    """Measure what the tied embedding holds in memory, as lookup and logits together."""
    tell(f"{checkpoint.source.id}: {EMBEDDING}")
    found = []
    for kernel in TIED:
        with tempfile.TemporaryDirectory(dir=probe.folder) as folder:
            graph = write_tied(checkpoint, kernel, Path(folder) / "tied")
            for setting in (SHIPPED, DEVICE_ALLOCATOR):
                memory = probe.memory(graph, setting=setting, runs=LOOKUPS, largest_id=checkpoint.dims.n_vocab - 1)
                row = {"kernel": kernel.name, "setting": setting.name, "weight_bytes": weight_bytes(graph)}
                found.append({**row, **memory})
    return found


def measure_settings(args: argparse.Namespace, checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """Compare session settings on an artifact."""
    suite = load_suite(args.clips, limit=args.n_clips)
    clips = decode(suite, folder)
    artifact = write_artifact(checkpoint, folder / "artifact")
    rounds = 1 if args.quick else args.rounds
    rows = compare_settings(artifact, clips, SETTINGS, rounds=rounds, threads=args.threads, tell=tell)
    return {"recipe": RECIPE, "suite": suite.name, "n_clips": len(clips), "rounds": rounds, "rows": rows}


def _command(args: argparse.Namespace) -> str:
    """Return the command that measures the same; of a manifest the name only, its folder is this machine's."""
    clips = Path(args.clips).name
    shown = {"--models": args.models, "--clips": clips, "--n-clips": args.n_clips, "--rounds": args.rounds}
    words = [f"{option} {value}" for option, value in (shown | {"--threads": args.threads}).items()]
    return " ".join(["python scripts/bench_kernels.py", *words])


def _int8_instructions() -> list[str]:
    """Name the instructions for INT8 products that the processor has: they decide which kernel wins."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\nflags")[2].partition("\n")[0].split()
    return [flag for flag in ("avx2", "avx_vnni", "avx512_vnni", "amx_int8") if flag in flags]


def tell(what: str) -> None:
    """Say on standard error what is going on."""
    print(f"kernels: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Measure what smaller shapes save and cost: pruned and factorised encoders and decoders beside the whole model.

    python scripts/bench_shapes.py --model openai/whisper-base

Every variant is written in FP32 and in 8 bits (int8_dynamic, attention included). In every round each variant is opened in a
fresh process, one after the other, which encodes a window of noise, reads a prompt and decodes forty tokens; kept are the
medians over all rounds. Token agreement is that of the usual gate, with the FP32 model on the parity clips of the demo
suite; nothing is trained. Calibration is the suite `calibration`, or --calibration. Writes eval/baselines/shapes.json
and .md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from fastwhisper_compress.checkpoint.model import Checkpoint
    from fastwhisper_compress.passes.statistics import Statistics

ROOT = Path(__file__).resolve().parent.parent
STEPS, WINDOW_S = 40, 30
VARIANCES = (0.999, 0.995, 0.99, 0.98)


def main(argv: Sequence[str] | None = None) -> int:
    """Write every variant, measure them in turns, and write the results."""
    parser = argparse.ArgumentParser(description="Measure what smaller shapes save and cost.")
    parser.add_argument("--model", default="openai/whisper-base", help="checkpoint (default: %(default)s)")
    parser.add_argument("--calibration", default="calibration", help="suite or manifest (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=48, help="of the calibration (default: %(default)s)")
    parser.add_argument("--variances", type=float, nargs="*", default=VARIANCES, help="of low_rank on the encoder")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "baselines", help="folder (default: %(default)s)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(args.child, args.threads)))
        return 0
    from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions

    with tempfile.TemporaryDirectory(prefix="bench-shapes-") as work:
        rows = written(args.model, args.calibration, args.clips, args.variances, Path(work))
        times: dict[str, list[dict[str, float]]] = {row["name"]: [] for row in rows}
        for number in range(args.rounds):
            for name, found in times.items():
                print(f"shapes: round {number + 1}, {name}", file=sys.stderr)
                command = [sys.executable, __file__, "--child", str(Path(work) / name), "--threads", str(args.threads)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
                found.append(json.loads(done.stdout))
    for row in rows:
        row |= {key: statistics.median(one[key] for one in times[row["name"]]) for key in ("encode_ms", "step_ms")}
        row["rounds"] = times[row["name"]]
    header = {
        "model": args.model,
        "calibration": Path(args.calibration).stem,  # a name, not a place on this machine
        "clips": args.clips,
        "cpu": cpu_name(),
        "threads": args.threads,
        "platform": platform.platform(),
        "rounds": args.rounds,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": package_versions(("onnxruntime", "numpy")),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "shapes.json").write_text(json.dumps(header | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    (args.out / "shapes.md").write_text(table(header, rows), encoding="utf-8")
    print(args.out / "shapes.md")
    return 0


def written(model: str, calibration: str, clips: int, variances: Sequence[float], work: Path) -> list[dict[str, Any]]:
    """Write every variant below ``work``; return what is known of each without timing it."""
    from fastwhisper_compress.checkpoint.open import open_checkpoint
    from fastwhisper_compress.evaluation.suite import load_suite
    from fastwhisper_compress.pipeline.calibrate import calibrate
    from fastwhisper_compress.pipeline.gates import load_gates
    from fastwhisper_compress.pipeline.store import Store
    from fastwhisper_compress.pipeline.verify import parity_clips, verify_compressed
    from fastwhisper_compress.recipe import LowRank, Prune
    from fastwhisper_compress.recipe.base import BasePass
    from fastwhisper_compress.runtime import load_artifact

    checkpoint, gates = open_checkpoint(model), load_gates()
    parity = parity_clips(load_suite(gates.suite), gates.clips)
    pruned: list[BasePass] = [Prune(granularity=part, amount=0.2) for part in ("ffn", "heads")]
    shapes: dict[str, list[BasePass]] = {"dense": [], "prune_heads_ffn_20": pruned}
    shapes |= {f"low_rank_{one:g}": [LowRank(variance=one, targets=["encoder.layers.*"])] for one in variances}
    found: list[dict[str, Any]] = []
    heard: Statistics | None = None
    for shape, passes in shapes.items():
        for precision in ("fp32", "int8_dynamic"):
            name = f"{shape}-{precision}"
            print(f"shapes: write {name}", file=sys.stderr)
            row = write_variant(checkpoint, passes, precision, heard, work / name)
            artifact, baseline = load_artifact(work / name), load_artifact(work / "dense-fp32")
            if heard is None:
                speech = load_suite(calibration, limit=clips, transcripts=False)
                heard = calibrate(Store(work / "store"), checkpoint, work / name, speech, lambda *_: None)
            verified = verify_compressed(artifact, baseline, parity, 0, lambda *_: None)
            row |= {"token_agreement": verified["token_agreement"], "sqnr_db": verified["sqnr_db"]}
            found.append({"name": name, "shape": shape, "precision": precision, **row})
    return found


def write_variant(
    checkpoint: Checkpoint, passes: Sequence[Any], precision: str, heard: Statistics | None, folder: Path
) -> dict[str, Any]:
    """Write an artifact as the runtime reads it, and count what is in it."""
    from fastwhisper_compress.checkpoint.dims import modules
    from fastwhisper_compress.emit.artifact import GRAPHS, emit
    from fastwhisper_compress.memory.weights import graph_of
    from fastwhisper_compress.passes.apply import apply
    from fastwhisper_compress.recipe import Fuse, Int8Dynamic, select_all
    from fastwhisper_compress.runtime.manifest import FORMAT, SCHEMA_VERSION

    every = [*passes, *([] if precision == "fp32" else [Int8Dynamic()]), Fuse()]
    selections = select_all(every, modules(checkpoint.dims))
    compressed = apply(checkpoint, every, selections, "cpu", heard)
    folder.mkdir(parents=True)
    emission = emit(compressed.checkpoint, compressed.plan, folder)
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "provider": "cpu",
        "graphs": GRAPHS,
        "encoder_context": {"margin_s": None},
        "batch_size": 1,
        "offload": "none",
        "layers": None,
        "modules": [row.to_json() for row in emission.modules],
        "decoding": compressed.checkpoint.decoding.to_json(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    sides = {side: [row for row in emission.modules if graph_of(row.path) == side] for side in ("encoder", "decoder")}
    own = [row for row in emission.modules if row.path.startswith("encoder.")]
    return {
        "parameters": compressed.checkpoint.n_parameters,
        "encoder_parameters": sum(row.parameters for row in own),
        "disk_bytes": sum(path.stat().st_size for path in (folder / "onnx").iterdir()),
        **{f"{side}_weight_bytes": sum(row.bytes for row in rows) for side, rows in sides.items()},
        "note": "; ".join(one.note for one in compressed.applied[: len(passes)]),
    }


def measure(artifact: Path, threads: int) -> dict[str, float]:
    """Time one variant in this process."""
    import numpy as np

    from fastwhisper_compress.runtime import load_artifact
    from fastwhisper_compress.runtime.decode import Batch, Decoder
    from fastwhisper_compress.runtime.prompt import prompt_tokens

    model = load_artifact(artifact, threads=threads)
    decoder = cast("Decoder", model._decoder)  # noqa: SLF001 - nothing is offloaded, so it holds its session
    prompt = prompt_tokens(model.manifest.decoding, "en", "transcribe")
    noise = np.random.default_rng(0).normal(0, 0.05, WINDOW_S * 16_000).astype(np.float32)
    encode_ms, step_ms = [], []
    for _ in range(3):
        start = time.perf_counter()
        encoded = model.encode([noise])
        encode_ms.append(1000 * (time.perf_counter() - start))
    texts = Batch(decoder._session, encoded.cross)  # noqa: SLF001 - the step itself is what is timed
    texts.feed(np.array([prompt], np.int64))
    for token in range(STEPS):
        start = time.perf_counter()
        texts.feed(np.full((1, 1), 1000 + token, np.int64))
        step_ms.append(1000 * (time.perf_counter() - start))
    return {"encode_ms": statistics.median(encode_ms), "step_ms": statistics.median(step_ms)}


def table(header: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "# What smaller shapes save and cost",
        "",
        f"{header['model']}, {header['cpu']}, {header['threads']} threads, {header['date']}; medians of {header['rounds']}",
        "rounds in turns, each in a fresh process. `encode` is a window of 30 s with its log-mel, `step` one token.",
        "`agreement` is the share of tokens predicted as by the FP32 model. Nothing was trained. Made by",
        "`python scripts/bench_shapes.py`.",
        "",
        "| shape | precision | parameters | of the encoder | on disk | encode | of dense | step | of dense | agreement |",
        "| :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    dense = {row["precision"]: row for row in rows if row["shape"] == "dense"}
    for row in rows:
        whole = dense[row["precision"]]
        lines.append(
            f"| {row['shape']} | {row['precision']} | {row['parameters'] / 1e6:.1f} M "
            f"| {row['encoder_parameters'] / whole['encoder_parameters'] - 1:+.1%} | {row['disk_bytes'] / 1e6:.1f} MB "
            f"| {row['encode_ms']:.0f} ms | {row['encode_ms'] / whole['encode_ms']:.2f} "
            f"| {row['step_ms']:.1f} ms | {row['step_ms'] / whole['step_ms']:.2f} | {row['token_agreement']:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

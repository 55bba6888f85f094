"""Measure the memory and the time of a training step, with and without gradient checkpointing, beside the estimate.

    python scripts/bench_training.py --model openai/whisper-base --batch 8

Every run is a fresh process that makes some steps of ``distill`` on all weights, as ``run`` would, on recordings of the demo
suite with made-up texts of one length. Its peak is that of the process, less what is resident before the networks are made
(torch and the checkpoint's file), which is what ``plan --train`` estimates. Writes eval/baselines/training.json and .md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_PROMPT = (50257, 50362)  # only their number matters here


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both ways, and write what was measured beside what is estimated."""
    parser = argparse.ArgumentParser(description="Measure the memory and the time of a training step.")
    parser.add_argument("--model", default="openai/whisper-base", help="checkpoint (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="clips of a step (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="of a text, prompt included (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="the first is not timed (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "baselines", help="folder (default: %(default)s)")
    parser.add_argument("--child", choices=("whole", "checkpointed"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.steps < 2:
        parser.error("--steps must be 2 or more: the first is not timed")
    if args.child:
        print(json.dumps(_measured(args)))
        return 0
    from fastwhisper_compress.checkpoint.open import open_checkpoint
    from fastwhisper_compress.memory.training import estimate_training
    from fastwhisper_compress.memory.working_set import Workload
    from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions

    dims = open_checkpoint(args.model, offline=True).dims
    told = estimate_training(dims, Workload(args.batch, tokens=args.tokens), amp=False)
    rows = {}
    for name in ("whole", "checkpointed"):
        print(f"training: {args.model}, {name}", file=sys.stderr)
        asked = [f"--{key}={getattr(args, key)}" for key in ("model", "batch", "tokens", "steps")]
        command = [sys.executable, str(Path(__file__)), *asked, f"--child={name}"]
        rows[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603 - ours
        rows[name]["estimated_bytes"] = told.peak(checkpointing=name == "checkpointed")
    kept = {name: row["peak_bytes"] - _without_activations(told) for name, row in rows.items()}
    found = {
        "model": args.model,
        "batch": args.batch,
        "tokens": args.tokens,
        "cpu": cpu_name(),
        "versions": package_versions(("torch",)),
        "rows": rows,
        "activations_bytes": kept,
        "activations_less": 1 - kept["checkpointed"] / kept["whole"],
        "time_ratio": rows["checkpointed"]["seconds"] / rows["whole"]["seconds"],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "training.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (args.out / "training.md").write_text(_table(found), encoding="utf-8")
    print(args.out / "training.md")
    return 0


def _without_activations(told: Any) -> int:
    return int(told.weights + told.gradients + told.optimiser + told.teacher)


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    """Train a few steps in this process."""
    import torch

    from fastwhisper_compress.checkpoint.dims import modules
    from fastwhisper_compress.checkpoint.open import open_checkpoint
    from fastwhisper_compress.emit.precision import Plan
    from fastwhisper_compress.evaluation.memory_probe import peak_resident_bytes, resident_bytes
    from fastwhisper_compress.evaluation.suite import load_suite
    from fastwhisper_compress.pipeline.train_processes import Job, train_together
    from fastwhisper_compress.recipe.learning import Distill
    from fastwhisper_compress.runtime.audio import read_audio
    from fastwhisper_compress.training.lessons import Lesson
    from fastwhisper_compress.training.log import read_log

    # And all that it needs, before memory is looked at.
    importlib.import_module("fastwhisper_compress.training.trainer")
    checkpoint = open_checkpoint(args.model, offline=True)
    settings = Distill(
        steps=args.steps,
        batch_size=args.batch,
        micro_batch_size=args.batch,
        gradient_checkpointing=args.child == "checkpointed",
    )
    text = tuple(range(1000, 1000 + args.tokens - len(_PROMPT)))
    clips = load_suite("demo", limit=args.batch).utterances
    lessons = [Lesson(str(one.audio), len(read_audio(one.audio)), _PROMPT, text) for one in clips]
    trained = tuple(module.path for module in modules(checkpoint.dims) if settings.takes(module))
    torch.zeros(1).sum()
    before = resident_bytes()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(settings, trained, checkpoint, checkpoint, Plan(), lessons, 0, Path(folder))
        train_together(job, 1, lambda _point, _steps: None)
        points = read_log(Path(folder))
    return {
        "before_bytes": before,
        "peak_bytes": peak_resident_bytes() - before,
        "seconds": statistics.median(point.seconds for point in points[1:]),
        "losses": [point.loss for point in points],
    }


def _table(found: dict[str, Any]) -> str:
    lines = [
        "# Memory and time of a training step",
        "",
        f"{found['model']}, {found['batch']} clips of 30 s and {found['tokens']} tokens a step, all weights trained in FP32",
        f"with AdamW beside a teacher of its own size; {found['cpu']}. Peaks are of the process, what was resident before the",
        "networks were made aside. Made by `python scripts/bench_training.py`.",
        "",
        "| gradient checkpointing | peak | estimated by `plan --train` | off by | seconds a step |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for name, row in found["rows"].items():
        peak, told = row["peak_bytes"], row["estimated_bytes"]
        lines.append(
            f"| {'yes' if name == 'checkpointed' else 'no'} | {peak / 1e6:,.0f} MB | {told / 1e6:,.0f} MB "
            f"| {told / peak - 1:+.1%} | {row['seconds']:.1f} |"
        )
    whole, checkpointed = (found["activations_bytes"][name] / 1e6 for name in ("whole", "checkpointed"))
    lines += [
        "",
        f"Weights, gradients, moments and the teacher aside, {whole:,.0f} MB and {checkpointed:,.0f} MB:",
        f"{found['activations_less']:.0%} less for {found['time_ratio']:.2f} times the time.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

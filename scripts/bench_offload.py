"""Measure what offloading saves and costs: peak memory, speed and tokens of one artifact in every mode.

    python scripts/bench_offload.py ARTIFACT [ARTIFACT ...]

Artifacts of recipes with ``offload: layers`` are run in all three modes, others in those they can. Every run is a fresh
process over the first clips of a suite. Kept are the largest peak of resident memory, the median speed, and whether the
tokens are those of the plain run. Writes eval/baselines/offload.json and .md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastwhisper_compress.evaluation.suite import Suite
    from fastwhisper_compress.runtime.manifest import Offload

ROOT = Path(__file__).resolve().parent.parent
MODES: tuple[Offload, ...] = ("none", "phase", "layers")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every artifact in every mode, in turns, and write the results."""
    parser = argparse.ArgumentParser(description="Measure what offloading saves and costs.")
    parser.add_argument("artifacts", nargs="+", type=Path, help="the --out folders of runs")
    parser.add_argument("--suite", default="demo", help="suite or manifest (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=6, help="clips (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each mode (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "baselines", help="folder (default: %(default)s)")
    args = parser.parse_args(argv)
    from fastwhisper_compress.evaluation.suite import load_suite
    from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions

    suite = load_suite(args.suite, limit=args.limit)
    rows = [row for artifact in args.artifacts for row in measured(artifact, suite, args.repeats, args.threads)]
    header = {
        "cpu": cpu_name(),
        "threads": args.threads,
        "platform": platform.platform(),
        "suite": suite.name,
        "clips": [one.id for one in suite.utterances],
        "repeats": args.repeats,
        "versions": package_versions(("onnxruntime", "numpy")),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "offload.json").write_text(json.dumps(header | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    (args.out / "offload.md").write_text(table(header, rows), encoding="utf-8")
    print(args.out / "offload.md")
    return 0


def measured(artifact: Path, suite: Suite, repeats: int, threads: int) -> list[dict[str, Any]]:
    """Return a row for each mode of one artifact."""
    from fastwhisper_compress.errors import UsageError
    from fastwhisper_compress.evaluation.measure import Evaluation, measure

    found: dict[Offload, list[Evaluation]] = {}
    refused: dict[Offload, str] = {}
    for _ in range(repeats):
        for mode in MODES:
            print(f"offload: {artifact.name}, {mode}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    one = measure(artifact, suite, Path(folder) / "rows.jsonl", threads=threads, offload=mode)
                except UsageError as error:
                    refused[mode] = error.message
                    continue
            found.setdefault(mode, []).append(one)
    plain = found["none"]
    rows = []
    for mode, runs in found.items():
        peak, rtfx = max(run.process["peak_rss_bytes"] for run in runs), statistics.median(run.rtfx for run in runs)
        before = max(run.process["peak_rss_bytes"] for run in plain)
        rows.append(
            {
                "artifact": artifact.name,
                "mode": mode,
                "peak_rss_bytes": peak,
                "memory_ratio": peak / before,
                "rtfx": rtfx,
                "time_ratio": statistics.median(run.rtfx for run in plain) / rtfx,
                "tokens_identical": min(
                    sum(a.tokens == b.tokens for a, b in zip(run.rows, plain[0].rows, strict=True)) for run in runs
                ),
                "n_utterances": len(plain[0].rows),
            }
        )
    return rows + [{"artifact": artifact.name, "mode": mode, "refused": why} for mode, why in refused.items()]


def table(header: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "# What offloading saves and costs",
        "",
        f"{header['cpu']}, {header['threads']} threads, {len(header['clips'])} clips of {header['suite']}, a fresh process",
        f"for each run, {header['repeats']} of each mode in turns: the largest peak, the median speed. Made by",
        "`python scripts/bench_offload.py ARTIFACT...`.",
        "",
        "| artifact | offload | peak RSS | of plain | RTFx | time of plain | same tokens |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        if "refused" in row:
            lines.append(f"| {row['artifact']} | {row['mode']} | refused: {row['refused']} | | | | |")
            continue
        lines.append(
            f"| {row['artifact']} | {row['mode']} | {row['peak_rss_bytes'] / 1e6:.0f} MB | {row['memory_ratio']:.2f} "
            f"| {row['rtfx']:.1f} | {row['time_ratio']:.2f} | {row['tokens_identical']} of {row['n_utterances']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

"""Measure how encoding, decoding and memory grow with the batch and with the length of the window.

    python scripts/bench_scaling.py ARTIFACT [ARTIFACT ...]

Every cell is a fresh process: it opens the artifact, encodes a batch of noise as long as the window, reads a prompt and
then forty tokens, three times over. Kept are the median time of encoding (log-mel included), the median time of one
decoding step, and the peak of resident memory. Writes eval/baselines/scaling.json, .md and .png.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 2, 4, 8)
WINDOWS_S = (5, 10, 20, 30)
STEPS = 40
REPEATS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every cell, in turns over the artifacts, and write the results."""
    parser = argparse.ArgumentParser(description="Measure how time and memory grow with batch and window.")
    parser.add_argument("artifacts", nargs="+", type=Path, help="the --out folders of runs")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "baselines", help="folder (default: %(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        batch, seconds = map(int, args.child.split(","))
        print(json.dumps(measure(args.artifacts[0], batch, seconds, args.threads)))
        return 0
    from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions

    cells = [(1, seconds) for seconds in WINDOWS_S] + [(batch, WINDOWS_S[-1]) for batch in BATCHES[1:]]
    rows: list[dict[str, Any]] = []
    for batch, seconds in cells:
        for artifact in args.artifacts:
            print(f"scaling: {artifact.name}, batch {batch}, {seconds} s", file=sys.stderr)
            command = [sys.executable, __file__, str(artifact), "--threads", str(args.threads)]
            done = subprocess.run(  # noqa: S603
                [*command, "--child", f"{batch},{seconds}"], stdout=subprocess.PIPE, text=True, check=True
            )
            rows.append({"artifact": artifact.name, "batch": batch, "window_s": seconds, **json.loads(done.stdout)})
    header = {
        "cpu": cpu_name(),
        "threads": args.threads,
        "platform": platform.platform(),
        "versions": package_versions(("onnxruntime", "numpy")),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "scaling.json").write_text(json.dumps(header | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    (args.out / "scaling.md").write_text(table(header, rows), encoding="utf-8")
    plot(rows, args.out / "scaling.png")
    print(args.out / "scaling.md")
    return 0


def measure(artifact: Path, batch: int, seconds: int, threads: int) -> dict[str, float]:
    """Measure one cell in this process."""
    import numpy as np

    from fastwhisper_compress.evaluation.memory_probe import peak_resident_bytes
    from fastwhisper_compress.runtime import load_artifact
    from fastwhisper_compress.runtime.decode import Batch, Decoder
    from fastwhisper_compress.runtime.prompt import prompt_tokens

    model = load_artifact(artifact, threads=threads)
    decoder = cast("Decoder", model._decoder)  # noqa: SLF001 - nothing is offloaded, so it holds its session
    prompt = prompt_tokens(model.manifest.decoding, "en", "transcribe")
    noise = np.random.default_rng(0).normal(0, 0.05, (batch, seconds * 16_000)).astype(np.float32)
    encode_ms, step_ms = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        encoded = model.encode(list(noise), frames=100 * seconds)
        encode_ms.append(1000 * (time.perf_counter() - start))
        texts = Batch(decoder._session, encoded.cross)  # noqa: SLF001 - the step itself is what is timed
        texts.feed(np.array([prompt] * batch, np.int64))
        for token in range(STEPS):
            start = time.perf_counter()
            texts.feed(np.full((batch, 1), 1000 + token, np.int64))
            step_ms.append(1000 * (time.perf_counter() - start))
        del encoded, texts
    return {
        "encode_ms": statistics.median(encode_ms),
        "step_ms": statistics.median(step_ms),
        "peak_rss_bytes": peak_resident_bytes(),
    }


def table(header: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "# How cost grows",
        "",
        f"{header['cpu']}, {header['threads']} threads. Made by `python scripts/bench_scaling.py ARTIFACT...`; a fresh process",
        "for each row. `a clip` is the time of the batch divided by its size.",
        "",
        "| artifact | batch | window | encode | a clip | step | a clip | peak RSS |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {row['artifact']} | {row['batch']} | {row['window_s']} s "
        f"| {row['encode_ms']:.0f} ms | {row['encode_ms'] / row['batch']:.0f} ms "
        f"| {row['step_ms']:.1f} ms | {row['step_ms'] / row['batch']:.1f} ms | {row['peak_rss_bytes'] / 1e6:.0f} MB |"
        for row in sorted(rows, key=lambda row: (row["artifact"], row["window_s"], row["batch"]))
    ]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw time and memory against batch and window."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    figures = (("encode_ms", 1, "encode, ms"), ("step_ms", 1, "step, ms"), ("peak_rss_bytes", 1e6, "peak RSS, MB"))
    for line, (key, label, fixed) in zip(
        axes, (("batch", "batch of 30 s windows", "window_s"), ("window_s", "window, s", "batch")), strict=True
    ):
        at = WINDOWS_S[-1] if fixed == "window_s" else 1
        for axis, (value, unit, name) in zip(line, figures, strict=True):
            for artifact in dict.fromkeys(row["artifact"] for row in rows):
                chosen = sorted((r[key], r[value] / unit) for r in rows if r["artifact"] == artifact and r[fixed] == at)
                axis.plot(*zip(*chosen, strict=True), marker="o", label=artifact)
            axis.set(xlabel=label, ylabel=name, xlim=(0, None), ylim=(0, None))
            axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())

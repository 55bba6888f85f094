"""Measure this project's artifacts beside other Whisper runtimes: same clips, same threads, same run.

    python scripts/bench.py --setup --peers ours:int8_dynamic,faster-whisper:int8 --models tiny.en
    python scripts/bench.py --manifest clips.jsonl --peers ours:int8_dynamic,faster-whisper:int8 --models tiny.en

``--setup`` installs each peer into a virtual environment of its own, by exact versions, and converts our checkpoint
with that peer's own converter; together with ``--manifest`` it then measures. Every run is a fresh process on one model:
greedy, language given, no timestamps, clips of at most 30 s, one at a time, after one clip to warm up. The variants
take turns round by round. Clips are decoded beforehand, so no figure holds the reading of audio files.

Figures: RTFx is seconds of audio by seconds of computing; start is importing the runtime and opening the model, with
its files in the page cache; on disk is every file that is read, tokenizer included. The hypotheses of every run are
kept below ``--home``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_peers.install import Home, require, set_up, versions
from bench_peers.measure import NOISY_CORES, Clip, artifact_bytes, row, run_once, schedule
from bench_peers.peers import Variant, parse_variants
from bench_peers.summary import medians, ratios, tables

from fastwhisper_compress.errors import AudioError, FastWhisperError
from fastwhisper_compress.evaluation.suite import Suite, load_suite
from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions
from fastwhisper_compress.resources import cache_dir, usable_cpus
from fastwhisper_compress.runtime.audio import SAMPLE_RATE, read_audio

ROOT = Path(__file__).resolve().parent.parent
LONGEST_S = 30
PEERS = (
    "ours:int8_dynamic,ours:fp32,faster-whisper:int8,openvino-genai:int8,whisper.cpp:q8_0,onnxruntime-genai:int8,"
    "sherpa-onnx:int8,transformers:fp32"
)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure artifacts beside other Whisper runtimes.")
    parser.add_argument("--manifest", help="NeMo manifest (.jsonl) or suite to measure on; without it only --setup")
    parser.add_argument("--models", default="tiny.en,base", help="checkpoints, as ids or sizes (default: %(default)s)")
    parser.add_argument("--peers", default=PEERS, help="ours:RECIPE and PEER:PRECISION (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of every runtime (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="measure on the first so many clips")
    parser.add_argument("--setup", action="store_true", help="install and convert what is missing")
    parser.add_argument("--home", type=Path, help="folder for what --setup makes (default: the user's cache)")
    parser.add_argument("--ours", type=Path, help="folder of finished runs (RECIPE-whisper-SIZE) to take ours from")
    parser.add_argument("--json", type=Path, default=ROOT / "eval" / "baselines" / "cpu-bench.json", metavar="OUT")
    args = parser.parse_args(argv)
    if not args.setup and not args.manifest:
        parser.error("give --manifest, --setup or both")
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads start at 1")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Set up, measure, print and write."""
    args = arguments(argv)
    try:
        bench(args)
    except FastWhisperError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def bench(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    variants = parse_variants(args.peers)
    models = list(dict.fromkeys(filter(None, args.models.split(","))))
    home = Home((args.home or cache_dir() / "bench").resolve(), args.ours)
    if args.setup:
        set_up(home, variants, models, tell)
    require(home, variants, models)
    if args.manifest:
        suite = load_suite(args.manifest, limit=args.limit)
        with tempfile.TemporaryDirectory(prefix="bench-clips-") as folder:
            clips = decode(suite, Path(folder))
            run_all(args, home, variants, models, suite, clips)


def decode(suite: Suite, folder: Path) -> list[Clip]:
    """Decode every clip that is short enough for all peers."""
    import numpy as np

    clips = []
    for i, one in enumerate(suite.utterances):
        samples = read_audio(one.audio)
        if 0 < samples.size <= LONGEST_S * SAMPLE_RATE:
            path = folder / f"{i}.npy"
            np.save(path, samples)
            clips.append(Clip(one.id, path, one.text, one.language))
    if not clips:
        raise AudioError(f"no clip of at most {LONGEST_S} s", place=suite.name, remedy="give a manifest of clips")
    return clips


def run_all(
    args: argparse.Namespace,
    home: Home,
    variants: Sequence[Variant],
    models: Sequence[str],
    suite: Suite,
    clips: Sequence[Clip],
) -> None:
    """Measure every round; the result file is written anew after each, so that an interrupted run leaves the others."""
    created = datetime.now(UTC)
    kept = home.root / "runs" / created.strftime("%Y%m%dT%H%M%SZ")
    kept.mkdir(parents=True)
    header = {
        "schema_version": 1,
        "created": created.isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": len(usable_cpus()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "threads": args.threads,
        "noisy_cores": NOISY_CORES,
        "manifest": {
            "name": suite.name,
            "digest": suite.digest,
            "language": suite.language,
            "synthetic": suite.synthetic,
            "license": suite.license,
            "limit": suite.limit,
            "n_clips": len(clips),
            "n_left_out": len(suite.utterances) - len(clips),
        },
        "versions": {v.peer: versions(home, v.peer) for v in variants if not v.is_ours}
        | {"ours": package_versions(("onnxruntime", "numpy"))},
    }
    rows: list[dict[str, Any]] = []
    turns = len(models) * len(variants)
    for number, model, variant in schedule(args.rounds, models, variants):
        tell(f"round {number} of {args.rounds}: {variant} on {model}")
        report = run_once(home, variant, model, clips, args.threads)
        name = f"{number}-{variant.peer}-{variant.folder_name}-{Path(model).name}.json"
        (kept / name).write_text(json.dumps(report, ensure_ascii=False) + "\n", encoding="utf-8")
        size = artifact_bytes(home.artifact(variant, model))
        rows.append(row(number, model, variant, report, clips) | {"artifact_bytes": size})
        if len(rows) == number * turns:
            header["manifest"]["audio_s"] = rows[0]["audio_s"]
            result = header | {"rounds": number, "rows": rows, "medians": medians(rows), "ratios": ratios(rows)}
            write(args.json, result)
    print(tables(result), end="")


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def tell(what: str) -> None:
    """Say on standard error what is going on."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

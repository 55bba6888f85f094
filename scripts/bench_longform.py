"""Measure long audio beside faster-whisper's batched pipeline: same weights, same recordings, same threads, same run.

    python scripts/bench_longform.py --setup --manifest recordings.jsonl --models tiny.en,base
    python scripts/bench_longform.py --manifest recordings.jsonl --ours runs --recipe int8_dynamic

Ours is the packed long form of an artifact, theirs is BatchedInferencePipeline on int8 weights that their own converter
made of our checkpoint (``--setup``, as for ``bench.py``). Both are given the files, find speech by Silero's network, hear
as many windows at a time, greedily and without timestamps; each keeps its own way of cutting windows and of hearing a bad
one again. Every run is a fresh process after one clip to warm up, and the two take turns. RTFx is seconds of audio by
seconds from file to text. Writes longform.json and longform.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_peers.install import Home, require, set_up, versions
from bench_peers.measure import NOISY_CORES, schedule, start_runner
from bench_peers.peers import Variant, parse_variants

from fastwhisper_compress.errors import FastWhisperError
from fastwhisper_compress.evaluation import wer
from fastwhisper_compress.evaluation.suite import Suite, load_suite
from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions
from fastwhisper_compress.resources import cache_dir, data_dir, usable_cpus
from fastwhisper_compress.runtime.audio_blocks import SAMPLE_RATE, open_audio

ROOT = Path(__file__).resolve().parent.parent
PEER = Variant("faster-whisper", "int8")
_RUNNERS = {"ours": "ours_packed", "faster-whisper": "faster_whisper_batched"}
_MEDIANS = ("rtfx", "wer", "peak_rss_bytes", "load_s", "wall_s")
_MIB = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Set up, measure and write."""
    parser = argparse.ArgumentParser(description="Measure long audio beside faster-whisper's batched pipeline.")
    parser.add_argument("--manifest", required=True, help="NeMo manifest (.jsonl) of recordings")
    parser.add_argument("--models", default="tiny.en,base", help="checkpoints (default: %(default)s)")
    parser.add_argument("--recipe", default="int8_dynamic", help="of ours (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="windows at a time (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: %(default)s)")
    parser.add_argument("--setup", action="store_true", help="install and convert what is missing")
    parser.add_argument("--home", type=Path, help="folder for what --setup makes (default: the user's cache)")
    parser.add_argument("--ours", type=Path, help="folder of finished runs (RECIPE-whisper-SIZE) to take ours from")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "baselines", help="folder (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.threads < 1 or args.batch_size < 1:
        parser.error("--rounds, --threads and --batch-size start at 1")
    try:
        bench(args)
    except FastWhisperError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def bench(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    variants = parse_variants(f"ours:{args.recipe},{PEER}")
    models = list(dict.fromkeys(filter(None, args.models.split(","))))
    home = Home((args.home or cache_dir() / "bench").resolve(), args.ours)
    if args.setup:
        set_up(home, variants, models, tell)
    require(home, variants, models)
    suite = load_suite(args.manifest)
    audio_s = sum(seconds(one.audio) for one in suite.utterances)
    header = {
        "schema_version": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": len(usable_cpus()),
        "platform": platform.platform(),
        "threads": args.threads,
        "batch_size": args.batch_size,
        "noisy_cores": NOISY_CORES,
        "manifest": {
            "name": suite.name,
            "digest": suite.digest,
            "language": suite.language,
            "synthetic": suite.synthetic,
            "license": suite.license,
            "n_recordings": len(suite.utterances),
            "audio_s": audio_s,
        },
        "versions": {
            "ours": package_versions(("onnxruntime", "numpy", "silero-vad")),
            PEER.peer: versions(home, PEER.peer),
        },
    }
    rows: list[dict[str, Any]] = []
    turns = len(models) * len(variants)
    for number, model, variant in schedule(args.rounds, models, variants):
        tell(f"round {number} of {args.rounds}: {variant} on {model}")
        report = start_runner(
            home, variant, _RUNNERS[variant.peer], spec(home, variant, model, suite, args), args.threads,
            f"{variant} on {model}",
        )  # fmt: skip
        rows.append(row(number, model, variant, report, suite, audio_s))
        if len(rows) == number * turns:  # what is measured is kept, whatever comes
            write(args.out, header | {"rounds": number, "rows": rows, "medians": medians(rows), "ratios": ratios(rows)})
    print(args.out / "longform.md")


def spec(home: Home, variant: Variant, model: str, suite: Suite, args: argparse.Namespace) -> dict[str, Any]:
    """Say what a runner is to do."""
    return {
        "task": {
            "artifact": str(home.artifact(variant, model).resolve()),
            "precision": variant.precision,
            "language": suite.language,
            "threads": args.threads,
            "batch_size": args.batch_size,
        },
        "warm_up": str(data_dir("eval") / "demo" / "long-01.opus"),
        "recordings": [{"id": one.id, "audio": str(one.audio.resolve())} for one in suite.utterances],
    }


def seconds(path: Path) -> float:
    """Return how long a recording really lasts."""
    with open_audio(path) as blocks:
        return sum(len(block) for block in blocks) / SAMPLE_RATE


def row(
    number: int, model: str, variant: Variant, report: dict[str, Any], suite: Suite, audio_s: float
) -> dict[str, Any]:
    """Turn a runner's report into one row of figures, without the texts."""
    heard = report["recordings"]
    texts = [(one.text, str(found["text"])) for one, found in zip(suite.utterances, heard, strict=True)]
    counts = wer.total(wer.score(texts, suite.language))
    wall_s = sum(found["wall_s"] for found in heard)
    return {
        "round": number,
        "model": model,
        "peer": variant.peer,
        "precision": variant.precision,
        **{key: value for key, value in report.items() if key != "recordings"},
        "noisy": report["other_cores"] > NOISY_CORES,
        "wall_s": wall_s,
        "rtfx": audio_s / wall_s,
        "wer": wer.error_rate(counts),
        "errors": counts.errors,
        "n_ref_words": counts.n_ref_words,
    }


def medians(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one entry per model and runtime, in the order of their first rows."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for one in rows:
        groups.setdefault((one["model"], one["peer"], one["precision"]), []).append(one)
    return [
        dict(zip(("model", "peer", "precision"), key, strict=True))
        | {"rounds": len(group), "noisy_rounds": sum(one["noisy"] for one in group)}
        | {name: statistics.median(one[name] for one in group) for name in _MEDIANS}
        for key, group in groups.items()
    ]


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare ours with theirs, model by model: the median over rounds of the ratio within a round."""
    found = []
    for model in dict.fromkeys(one["model"] for one in rows):
        of = [one for one in rows if one["model"] == model]
        theirs = {one["round"]: one for one in of if one["peer"] == PEER.peer}
        pairs = [(one, theirs[one["round"]]) for one in of if one["peer"] != PEER.peer and one["round"] in theirs]
        speeds = [mine["rtfx"] / its["rtfx"] for mine, its in pairs]
        found.append(
            {
                "model": model,
                "rtfx": statistics.median(speeds),
                "rtfx_per_round": speeds,
                "peak_rss_bytes": statistics.median(a["peak_rss_bytes"] / b["peak_rss_bytes"] for a, b in pairs),
                "wer_delta_pp": 100 * statistics.median(a["wer"] - b["wer"] for a, b in pairs),
            }
        )
    return found


def page(result: dict[str, Any]) -> str:
    """Return both tables in Markdown, with what they were measured on above them."""
    suite = result["manifest"]
    rounds = f"{result['rounds']} round{'s' * (result['rounds'] != 1)}"
    head = (
        f"{suite['n_recordings']} recording{'s' * (suite['n_recordings'] != 1)} of {suite['name']} "
        f"({'synthetic speech, ' * suite['synthetic']}{suite['audio_s'] / 60:.1f} min), {result['cpu']}, "
        f"{result['threads']} threads, batch {result['batch_size']}, {result['created'][:10]}, medians of {rounds} in turns, "
        "a fresh process each. Made by `python scripts/bench_longform.py`. Noisy: rounds in which other processes kept more "
        f"than {result['noisy_cores']} cores busy."
    )
    lines = [
        "# Long audio beside faster-whisper",
        "",
        head,
        "",
        "| model | runtime | RTFx | WER | peak RSS | load | noisy |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {one['model']} | {one['peer']} {one['precision']} | {one['rtfx']:.1f} | {one['wer']:.2%} "
        f"| {one['peak_rss_bytes'] / _MIB:.0f} MiB | {one['load_s']:.2f} s | {one['noisy_rounds']}/{one['rounds']} |"
        for one in result["medians"]
    ]
    lines += [
        "",
        "Ours by theirs:",
        "",
        "| model | speed | of the rounds | memory | WER |",
        "| :-- | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {one['model']} | {one['rtfx']:.2f} | {min(one['rtfx_per_round']):.2f} to {max(one['rtfx_per_round']):.2f} "
        f"| {one['peak_rss_bytes']:.2f} | {one['wer_delta_pp']:+.2f} pp |"
        for one in result["ratios"]
    ]
    return "\n".join(lines) + "\n"


def write(out: Path, result: dict[str, Any]) -> None:
    """Write both files."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("longform.json", json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False) + "\n"),
        ("longform.md", page(result)),
    ):
        draft = out / f".{name}.draft"
        draft.write_text(text, encoding="utf-8")
        draft.replace(out / name)


def tell(what: str) -> None:
    """Say on standard error what is going on."""
    print(f"longform: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

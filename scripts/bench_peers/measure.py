"""Run every variant in turn, each time in a fresh process."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_peers.install import Home, child_environment
from bench_peers.peers import OURS, PEERS, Variant
from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.evaluation import wer

NOISY_CORES = 0.2  # kept busy by other processes: a round with more than this is marked
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_STDERR_TAIL = 2_000


@dataclass(frozen=True)
class Clip:
    """One decoded clip: ``samples`` is a ``.npy`` file of float32 (n,) at 16 kHz."""

    id: str
    samples: Path
    text: str
    language: str


def schedule(rounds: int, models: Sequence[str], variants: Sequence[Variant]) -> Iterator[tuple[int, str, Variant]]:
    """Give the order of the runs: A B A B, so that a machine that drifts does so for all alike."""
    for number in range(1, rounds + 1):
        for model in models:
            for variant in variants:
                yield number, model, variant


def run_once(home: Home, variant: Variant, model: str, clips: Sequence[Clip], threads: int) -> dict[str, Any]:
    """Run one variant on all clips and return what its runner reported.

    Raises:
        BackendError: The runner failed; the end of what it printed is in the message.
    """
    spec = {
        "task": {
            "artifact": str(home.artifact(variant, model).resolve()),
            "precision": variant.precision,
            "language": clips[0].language,
            "multilingual": _multilingual(home, model),
            "threads": threads,
        },
        "clips": [{"id": clip.id, "samples": str(clip.samples)} for clip in clips],
    }
    runner = OURS[variant.peer] if variant.is_ours else PEERS[variant.peer].runner
    return start_runner(home, variant, runner, spec, threads, f"{variant} on {model}")


def start_runner(
    home: Home, variant: Variant, runner: str, spec: Mapping[str, Any], threads: int, place: str
) -> dict[str, Any]:
    """Run a module of ``bench_peers.runners`` in a variant's own environment and return what it reported.

    Raises:
        BackendError: The runner failed; the end of what it printed is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        done = subprocess.run(  # noqa: S603
            [str(home.python(variant)), "-m", f"bench_peers.runners.{runner}", str(path)],
            env=child_environment(dict.fromkeys(_THREAD_VARIABLES, str(threads))),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or not lines:
        tail = done.stderr.decode(errors="replace")[-_STDERR_TAIL:]
        raise BackendError(
            f"failed (exit code {done.returncode}):\n{tail}",
            place=place,
            remedy="see the message above; --setup installs it anew if its lock file changed",
        )
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def row(number: int, model: str, variant: Variant, report: dict[str, Any], clips: Sequence[Clip]) -> dict[str, Any]:
    """Turn a runner's report into one row of figures, without the texts."""
    heard = report["clips"]
    pairs = [(clip.text, one["text"]) for clip, one in zip(clips, heard, strict=True)]
    counts = wer.total(wer.score(pairs, clips[0].language))
    walls = [one["wall_s"] for one in heard]
    audio_s = sum(one["audio_s"] for one in heard)
    return {
        "round": number,
        "model": model,
        "peer": variant.peer,
        "precision": variant.precision,
        **{key: value for key, value in report.items() if key != "clips"},
        "noisy": report["other_cores"] > NOISY_CORES,
        "audio_s": audio_s,
        "wall_s": sum(walls),
        "clip_wall_s_median": statistics.median(walls),
        "clip_wall_s_max": max(walls),
        "rtfx": audio_s / sum(walls),
        "wer": wer.error_rate(counts),
        "errors": counts.errors,
        "n_ref_words": counts.n_ref_words,
    }


def artifact_bytes(folder: Path) -> int:
    """Return the size of what a peer reads; of a run's folder the artifact, not the report beside it."""
    manifest = folder / "manifest.json"
    if manifest.is_file():
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return manifest.stat().st_size + sum(int(file["bytes"]) for file in files)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _multilingual(home: Home, model: str) -> bool:
    """Whether a model is told the language; our runtime finds that out itself."""
    path = home.checkpoint(model) / "generation_config.json"
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8"))["is_multilingual"])

"""Measure an artifact on a suite in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastwhisper_compress import errors
from fastwhisper_compress.errors import (
    ArtifactError,
    AudioError,
    FastWhisperError,
    OutOfMemoryError,
    ResourceError,
    SuiteError,
)
from fastwhisper_compress.evaluation import wer
from fastwhisper_compress.evaluation.result import Evaluation, Row, compare, restore, score_rows
from fastwhisper_compress.evaluation.runner import finished_rows
from fastwhisper_compress.resources import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastwhisper_compress.evaluation.suite import Suite
    from fastwhisper_compress.runtime.manifest import Offload

__all__ = ["Evaluation", "OnProgress", "Row", "compare", "measure", "restore"]

OnProgress = Callable[[int, int], None]
OnShrink = Callable[[int, int], None]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_STDERR_TAIL = 2_000
_GRACE_S = 5.0


def measure(
    artifact_dir: Path,
    suite: Suite,
    rows_path: Path,
    *,
    threads: int | None = None,
    provider: str = "cpu",
    backend: str = "onnxruntime",
    batch_size: int = 1,
    offload: Offload | None = None,
    on_progress: OnProgress | None = None,
    on_shrink: OnShrink | None = None,
) -> Evaluation:
    """Transcribe a suite in a fresh process and score it.

    Interrupted by Ctrl-C, an error or a kill, the finished rows stay in ``rows_path`` together with what they belong to
    (``*.spec.json``), and the next call with the same artifact contents, suite and threads goes on after them. Rows that
    belong to anything else are thrown away. When done, ``rows_path`` is rewritten with references and counts.

    Args:
        artifact_dir: The artifact.
        suite: What to transcribe.
        rows_path: JSONL file for the per-utterance rows.
        threads: Threads of the measuring process; all usable cores when not given.
        provider: ``cpu`` or ``cuda``; GPU memory is measured for the latter.
        backend: What runs the encoder, ``onnxruntime`` or ``openvino``.
        batch_size: How many clips are transcribed together; when memory runs out it goes on with fewer.
        offload: What leaves memory while it is not needed; None takes what the artifact says.
        on_progress: Called with (rows done, rows in all).
        on_shrink: Called with (clips at which memory ran out, clips it goes on with).

    Raises:
        SuiteError: No reference word is left after normalisation, so there is no error rate.
        AudioError: Not one clip could be transcribed.
        ResourceError: An audio file could not be read, or is no longer what it was.
        OutOfMemoryError: There was not enough memory for one clip at a time.
        ResourceError: The process was killed.
        FastWhisperError: Whatever the process raised, with its own class and exit code.
    """
    if not any(
        counts.n_ref_words for counts in wer.score([(one.text, "") for one in suite.utterances], suite.language)
    ):
        raise SuiteError(
            "no reference has a word in it, so there is no error rate",
            place=suite.name,
            remedy="add transcripts to the manifest",
        )
    threads = threads or len(usable_cpus())
    spec = {
        "artifact_digest": _artifact_digest(artifact_dir),
        "suite_digest": suite.digest,
        "threads": threads,
        "provider": provider,
        "backend": backend,
        "batch_size": batch_size,
        "offload": offload,
        "utterances": [
            {"id": one.id, "audio": str(one.audio.resolve()), "sha256": digest, "language": one.language}
            for one, digest in zip(suite.utterances, suite.audio_digests, strict=True)
        ],
    }
    spec_path = rows_path.with_suffix(".spec.json")
    rows_path.parent.mkdir(parents=True, exist_ok=True)
    if _read_spec(spec_path) != spec:
        rows_path.unlink(missing_ok=True)
    where = {"artifact": str(artifact_dir.resolve()), "rows_path": str(rows_path.resolve())}
    _write(json.dumps(spec | where), spec_path)
    process = _run(spec_path, threads, on_progress, on_shrink)
    process["measured_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    rows = score_rows(suite, finished_rows(rows_path))
    if all(row.error is not None for row in rows):
        raise AudioError(
            f"not one of {len(rows)} clips could be transcribed; the first: {rows[0].error}",
            place=suite.name,
            remedy="check the audio files of the suite",
        )
    _write("".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows), rows_path)
    spec_path.unlink()
    return Evaluation(suite.digest, suite.language, threads, rows, process, int(process["resumed_rows"]))


def _run(spec_path: Path, threads: int, on_progress: OnProgress | None, on_shrink: OnShrink | None) -> dict[str, Any]:
    """Run the measuring process to its end and return its measurement."""
    package_root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
    environment = os.environ | {name: str(threads) for name in _THREAD_VARIABLES} | {"PYTHONPATH": path}
    # -P: a stray numpy.py in the working folder must not become part of the measurement
    command = [sys.executable, "-P", "-m", "fastwhisper_compress.evaluation.runner", str(spec_path)]
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment, encoding="utf-8"
        )
        try:
            last = _follow(child, on_progress, on_shrink)
            code = child.wait()
        finally:
            _stop(child)
        if last.get("event") == "measurement" and code == 0:
            return last
        raise _failure(last, code, _tail(stderr))


def _follow(child: subprocess.Popen[str], on_progress: OnProgress | None, on_shrink: OnShrink | None) -> dict[str, Any]:
    """Pass on what the process tells until it closes its output; return the last event that says how far it is."""
    last: dict[str, Any] = {}
    for line in child.stdout or ():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a library that talks on standard output
        if not isinstance(event, dict) or "event" not in event:
            continue
        if event["event"] == "recovery":
            if on_shrink:
                on_shrink(event["from"], event["to"])
            continue
        last = event
        if on_progress and event["event"] == "progress":
            on_progress(event["done"], event["of"])
    return last


def _stop(child: subprocess.Popen[str]) -> None:
    if child.stdout:
        child.stdout.close()
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _failure(last: Mapping[str, Any], code: int, stderr: str) -> Exception:
    if last.get("event") == "error":
        kind = getattr(errors, last["type"], FastWhisperError)
        failure: FastWhisperError = kind(last["message"], place=last["place"], remedy=last["remedy"])
        if isinstance(failure, OutOfMemoryError):
            failure.requested_bytes = last["requested_bytes"]
        return failure
    place = f"after utterance {last['done']} of {last['of']}" if last.get("event") == "progress" else "loading"
    if code < 0:
        return ResourceError(
            f"the measuring process was killed by signal {-code}" + (", probably out of memory" if code == -9 else ""),
            place=place,
            remedy="free memory or use a smaller model; finished utterances are kept, so running again goes on",
        )
    return RuntimeError(f"the measuring process failed {place} with exit code {code}:\n{stderr}")


def _tail(stderr: IO[bytes]) -> str:
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - _STDERR_TAIL))
    return stderr.read().decode(errors="replace").strip()


def _artifact_digest(artifact_dir: Path) -> str:
    """Return the digest of the artifact's manifest, which holds the digest of every file."""
    try:
        return hashlib.sha256((artifact_dir / "manifest.json").read_bytes()).hexdigest()
    except OSError as error:
        raise ArtifactError(
            "not an artifact: manifest.json cannot be read",
            place=str(artifact_dir),
            remedy="give a folder made by `run`",
        ) from error


def _read_spec(path: Path) -> dict[str, Any] | None:
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {key: value for key, value in spec.items() if key not in {"artifact", "rows_path"}}


def _write(text: str, path: Path) -> None:
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    # Half a character, as JSON can hold, becomes an escape again.
    with staging.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)

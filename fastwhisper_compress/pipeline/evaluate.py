"""Measure an artifact, or take what was measured before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import OutOfMemoryError
from fastwhisper_compress.evaluation.measure import Evaluation, measure, restore
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.pipeline.advice import shrunk, with_advice
from fastwhisper_compress.pipeline.build import Report, check_files
from fastwhisper_compress.pipeline.files import read_json, write_json
from fastwhisper_compress.pipeline.provenance import code_digest, cpu_name, package_versions, variables
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.resources import usable_cpus
from fastwhisper_compress.runtime.manifest import Offload

KIND = "evaluation"
_NUMERICS = (
    *("onnxruntime", "onnxruntime-gpu", "openvino", "numpy"),
    *("openai-whisper", "jiwer", "soxr", "soundfile", "av", "tokenizers"),
)


def evaluate(
    store: Store,
    artifact: Path,
    suite: Suite,
    report: Report,
    *,
    provider: str,
    threads: int | None,
    batch_size: int,
    backend: str = "onnxruntime",
    offload: Offload | None = None,
) -> Evaluation:
    """Measure an artifact on a suite in a fresh process, unless the store has the result.

    ``offload`` None takes what the artifact says. Interrupted rows are kept outside the stage, and the next call goes on
    after them. When memory runs out it goes on with smaller batches, and reports that.

    Raises:
        OutOfMemoryError: There was not enough memory for one clip at a time.
    """
    threads = threads or len(usable_cpus())
    check_files(artifact)
    spec = evaluation_spec(
        artifact, suite, provider=provider, threads=threads, batch_size=batch_size, backend=backend, offload=offload
    )
    unfinished = store.unfinished(KIND, spec)

    def make(folder: Path) -> None:
        rows = unfinished / "rows.jsonl"
        try:
            found = measure(
                artifact,
                suite,
                rows,
                threads=threads,
                provider=provider,
                backend=backend,
                batch_size=batch_size,
                offload=offload,
                on_progress=lambda n, of: report("evaluate", n, of),
                on_shrink=lambda before, after: report(shrunk(before, after), 0, 1),
            )
        except OutOfMemoryError as error:
            raise with_advice(error, artifact) from error
        if found.process["recoveries"]:
            shutil.rmtree(unfinished)  # while nobody else goes on with it
            raise _NotToKeepError(found)
        shutil.copyfile(rows, folder / "rows.jsonl")
        write_json(folder / "evaluation.json", found.to_json())

    try:
        folder = store.stage(KIND, spec, make)
    except _NotToKeepError as error:
        return error.found
    return restore(read_json(folder / "evaluation.json"), suite, folder / "rows.jsonl")


def evaluation_spec(
    artifact: Path,
    suite: Suite,
    *,
    provider: str,
    threads: int | None,
    batch_size: int,
    backend: str = "onnxruntime",
    offload: Offload | None = None,
) -> dict[str, Any]:
    """Return what decides the measurement of an artifact."""
    return {
        "artifact": read_json(artifact / "manifest.json"),
        "suite": suite.digest,
        "provider": provider,
        "backend": backend,
        "offload": offload,
        "threads": threads or len(usable_cpus()),
        "batch_size": batch_size,
        "cpu": cpu_name(),
        "variables": variables(),
        "code": code_digest("runtime", "transcription", "evaluation"),
        "versions": package_versions(_NUMERICS),
    }


class _NotToKeepError(Exception):
    """That memory ran out is true of this measurement, and need not be of the next."""

    def __init__(self, found: Evaluation) -> None:
        self.found = found
        super().__init__()

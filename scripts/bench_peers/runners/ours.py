"""This project's runtime."""

from __future__ import annotations

import importlib
from functools import partial

from bench_peers.runners.child import Samples, Task, Transcribe, run


def load(task: Task, backend: str) -> Transcribe:
    """Open an artifact."""
    runtime = importlib.import_module("fastwhisper_compress.runtime")
    model = runtime.load_artifact(task.artifact, threads=task.threads, backend=backend)

    def transcribe(samples: Samples) -> str:
        return str(model.transcribe(samples, runtime.Options(language=task.language)).text)

    return transcribe


if __name__ == "__main__":
    run(("onnxruntime", "fastwhisper_compress.runtime"), partial(load, backend="onnxruntime"))

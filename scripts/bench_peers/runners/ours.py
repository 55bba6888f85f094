"""This project's runtime."""

from __future__ import annotations

import importlib

from bench_peers.runners.child import Samples, Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open an artifact."""
    runtime = importlib.import_module("fastwhisper_compress.runtime")
    model = runtime.load_artifact(task.artifact, threads=task.threads)

    def transcribe(samples: Samples) -> str:
        return str(model.transcribe(samples, language=task.language).text)

    return transcribe


if __name__ == "__main__":
    run(("onnxruntime", "fastwhisper_compress.runtime"), load)

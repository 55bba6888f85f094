"""faster-whisper's batched pipeline: from file to text, windows in batches."""

from __future__ import annotations

import importlib
from pathlib import Path

from bench_peers.runners.longform import Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open a CTranslate2 folder, computing in the type that it is stored in."""
    library = importlib.import_module("faster_whisper")
    model = library.WhisperModel(
        str(task.artifact), device="cpu", compute_type=task.precision, cpu_threads=task.threads, num_workers=1
    )
    pipeline = library.BatchedInferencePipeline(model)

    def transcribe(path: Path) -> str:
        segments, _ = pipeline.transcribe(
            str(path), language=task.language, batch_size=task.batch_size, beam_size=1, without_timestamps=True
        )
        return "".join(segment.text for segment in segments)  # decoding happens here: segments is a generator

    return transcribe


if __name__ == "__main__":
    run(("faster_whisper",), load)

"""This project's packed long form: from file to text, windows in batches."""

from __future__ import annotations

import importlib
from pathlib import Path

from bench_peers.runners.longform import Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open an artifact."""
    runtime = importlib.import_module("fastwhisper_compress.runtime")
    packed = importlib.import_module("fastwhisper_compress.transcription.packed")
    work = importlib.import_module("fastwhisper_compress.transcription.work")
    vad = importlib.import_module("fastwhisper_compress.transcription.vad")
    options = importlib.import_module("fastwhisper_compress.runtime.options").Options(language=task.language)
    model = runtime.load_artifact(task.artifact, threads=task.threads)
    detector = vad.SpeechDetector()

    def transcribe(path: Path) -> str:
        events = packed.transcribe_packed(
            model, [work.Reading(path, 0)], options, task.batch_size, detector=detector, on_shrink=_no_memory
        )
        texts = []
        for _, what in events:
            if isinstance(what, Exception):
                raise what
            texts += [segment.text for segment in getattr(what, "segments", ())]
        return "".join(texts)

    return transcribe


def _no_memory(before: int, after: int) -> None:
    """Refuse to go on with smaller batches: the figures would be those of another task."""
    raise MemoryError(f"memory sufficed for {after} windows at a time, not for {before}")


if __name__ == "__main__":
    run(("onnxruntime", "fastwhisper_compress.runtime", "fastwhisper_compress.transcription.packed"), load)

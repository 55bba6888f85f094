"""faster-whisper on CTranslate2."""

from __future__ import annotations

import importlib

from bench_peers.runners.child import Samples, Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open a CTranslate2 folder, computing in the type that it is stored in."""
    model = importlib.import_module("faster_whisper").WhisperModel(
        str(task.artifact), device="cpu", compute_type=task.precision, cpu_threads=task.threads, num_workers=1
    )

    def transcribe(samples: Samples) -> str:
        segments, _ = model.transcribe(
            samples,
            language=task.language,
            beam_size=1,
            best_of=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return "".join(segment.text for segment in segments)  # decoding happens here: segments is a generator

    return transcribe


if __name__ == "__main__":
    run(("faster_whisper",), load)

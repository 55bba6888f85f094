"""sherpa-onnx. It encodes the clip and a short margin, not 30 s."""

from __future__ import annotations

import importlib

from bench_peers.runners.child import RATE_HZ, Samples, Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open a folder of its two graphs and token list."""
    recognizer = importlib.import_module("sherpa_onnx").OfflineRecognizer.from_whisper(
        encoder=str(task.artifact / "encoder.onnx"),
        decoder=str(task.artifact / "decoder.onnx"),
        tokens=str(task.artifact / "tokens.txt"),
        language=task.language,
        task="transcribe",
        num_threads=task.threads,
    )

    def transcribe(samples: Samples) -> str:
        stream = recognizer.create_stream()
        stream.accept_waveform(RATE_HZ, samples)
        recognizer.decode_stream(stream)
        return str(stream.result.text)

    return transcribe


if __name__ == "__main__":
    run(("sherpa_onnx",), load)

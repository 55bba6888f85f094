"""OpenVINO GenAI. It computes in BF16 where the CPU has it, whatever type the weights are stored in."""

from __future__ import annotations

import importlib
import sys

from bench_peers.runners.child import Samples, Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open a folder of OpenVINO models."""
    pipeline = importlib.import_module("openvino_genai").WhisperPipeline(
        str(task.artifact), "CPU", INFERENCE_NUM_THREADS=task.threads
    )
    config = pipeline.get_generation_config()
    config.num_beams, config.do_sample, config.return_timestamps = 1, False, False
    if task.multilingual:
        config.language, config.task = f"<|{task.language}|>", "transcribe"

    def transcribe(samples: Samples) -> str:
        return str(pipeline.generate(samples, config).texts[0])

    return transcribe


if __name__ == "__main__":
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # nothing is reported to its makers
    run(("openvino_genai",), load)

"""whisper.cpp through pywhispercpp."""

from __future__ import annotations

import importlib

from bench_peers.runners.child import Samples, Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open a ggml file. Non-speech tokens are suppressed, as every other runtime does by default."""
    model = importlib.import_module("pywhispercpp.model").Model(
        str(task.artifact / "ggml-model.bin"),
        redirect_whispercpp_logs_to=None,
        context_params={"use_gpu": False, "flash_attn": True},
        n_threads=task.threads,
        language=task.language,
        greedy={"best_of": 1},
        temperature=0.0,
        temperature_inc=0.0,
        no_timestamps=True,
        no_context=True,
        single_segment=True,
        suppress_blank=True,
        suppress_nst=True,
        print_progress=False,
    )

    def transcribe(samples: Samples) -> str:
        return " ".join(segment.text for segment in model.transcribe(samples))

    return transcribe


if __name__ == "__main__":
    run(("pywhispercpp.model",), load)

"""Hugging Face transformers on PyTorch."""

from __future__ import annotations

import importlib

from bench_peers.runners.child import RATE_HZ, Samples, Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open a Hugging Face folder."""
    torch = importlib.import_module("torch")
    transformers = importlib.import_module("transformers")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(task.threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[task.precision]
    model = transformers.WhisperForConditionalGeneration.from_pretrained(task.artifact, dtype=dtype).eval()
    processor = transformers.WhisperProcessor.from_pretrained(task.artifact)
    spoken = {"language": task.language, "task": "transcribe"} if task.multilingual else {}

    def transcribe(samples: Samples) -> str:
        with torch.inference_mode():
            features = processor(samples, sampling_rate=RATE_HZ, return_tensors="pt").input_features.to(dtype)
            tokens = model.generate(features, num_beams=1, do_sample=False, return_timestamps=False, **spoken)
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0])

    return transcribe


if __name__ == "__main__":
    run(("torch", "transformers"), load)

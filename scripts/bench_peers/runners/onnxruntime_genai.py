"""ONNX Runtime GenAI."""

from __future__ import annotations

import importlib
import io
import json
import wave

import numpy as np

from bench_peers.runners.child import RATE_HZ, Samples, Task, Transcribe, run


def load(task: Task) -> Transcribe:
    """Open a folder that its model builder wrote."""
    genai = importlib.import_module("onnxruntime_genai")
    config = genai.Config(str(task.artifact))
    session = {"session_options": {"intra_op_num_threads": task.threads, "inter_op_num_threads": 1}}
    config.overlay(json.dumps({"model": {"encoder": session, "decoder": session}}))
    model = genai.Model(config)
    processor = model.create_multimodal_processor()
    spoken = f"<|{task.language}|><|transcribe|>" if task.multilingual else ""
    prompt = f"<|startoftranscript|>{spoken}<|notimestamps|>"

    def transcribe(samples: Samples) -> str:
        inputs = processor([prompt], audios=genai.Audios.open_bytes(_wav(samples)))
        options = genai.GeneratorParams(model)
        options.set_search_options(do_sample=False, num_beams=1, num_return_sequences=1, max_length=448, batch_size=1)
        generator = genai.Generator(model, options)
        generator.set_inputs(inputs)
        while not generator.is_done():
            generator.generate_next_token()
        return str(processor.decode(generator.get_sequence(0)))

    return transcribe


def _wav(samples: Samples) -> bytes:
    """A WAV file in memory, the only form in which it takes samples. Shapes: (n,)."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
    return buffer.getvalue()


if __name__ == "__main__":
    run(("onnxruntime_genai",), load)

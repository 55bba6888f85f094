"""The log-mel graph against openai-whisper, which trained and evaluated with exactly these features."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from small_whisper import speech_like

from fastwhisper_compress.emit.graph import Graph, WeightFile
from fastwhisper_compress.emit.log_mel import mel_filters, write_log_mel
from fastwhisper_compress.pipeline.reference import reference_log_mel

LIMIT = 5e-5


@pytest.fixture(scope="module", params=[80, 128])
def log_mel(request, tmp_path_factory):
    """A function from samples to features of a graph for 30 s."""
    folder = tmp_path_factory.mktemp("log_mel")
    with WeightFile(folder / "weights.bin") as weights:
        graph = Graph("log_mel", weights)
        write_log_mel(graph, request.param, 3000)
        onnx.save(graph.model(), folder / "log_mel.onnx")
    onnx.checker.check_model(folder / "log_mel.onnx", full_check=True)
    session = ort.InferenceSession(folder / "log_mel.onnx", providers=["CPUExecutionProvider"])

    def run(*clips):
        return session.run(None, {"audio": np.stack(clips)})[0]

    run.n_mels = request.param
    return run


def noise(length, level=0.1):
    return np.random.default_rng(length).normal(scale=level, size=length).astype(np.float32)


# Where framing goes wrong if it goes wrong: the first frames, the reflection, a frame's edge, and the end of 30 s.
LENGTHS = (0, 1, 79, 80, 81, 159, 160, 161, 199, 200, 201, 399, 400, 401, 16_000, 479_839, 479_999, 480_000, 480_001)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_equals_openai_whispers(log_mel, length):
    samples = noise(length)
    found = log_mel(samples)
    assert (found.dtype, found.shape) == (np.float32, (1, log_mel.n_mels, 3000))
    assert np.abs(found[0] - reference_log_mel(samples, log_mel.n_mels)).max() <= LIMIT


CLIPS = {
    "silence": np.zeros(8000, np.float32),
    "whisper": noise(8000, 1e-4),
    "clipped": np.clip(noise(8000, 3.0), -1, 1),
    "offset": np.full(8000, 0.5, np.float32),
    "click at the start": np.eye(1, 4000, 0, dtype=np.float32)[0],
    "click at the end": np.eye(1, 4000, 3999, dtype=np.float32)[0],
    "tone of 8 kHz": np.tile(np.float32([0.5, -0.5]), 4000),
    "sweep": speech_like(3.0),
}


@pytest.mark.parametrize("name", CLIPS)
def test_every_kind_of_sound_equals_openai_whispers(log_mel, name):
    found = log_mel(CLIPS[name])[0]
    assert np.abs(found - reference_log_mel(CLIPS[name], log_mel.n_mels)).max() <= LIMIT


def test_clips_of_a_batch_are_levelled_each_by_its_own_peak(log_mel):
    loud, quiet = noise(4000, 0.3), noise(4000, 1e-3)
    both = log_mel(loud, quiet)
    for clip, found in zip((loud, quiet), both, strict=True):
        np.testing.assert_allclose(found, log_mel(clip)[0], atol=1e-6)


def test_the_filters_are_openai_whispers():
    import whisper

    for n_mels in (80, 128):
        np.testing.assert_allclose(mel_filters(n_mels), whisper.audio.mel_filters("cpu", n_mels).numpy(), atol=1e-7)

"""What the recipes promise of resident memory, on tiny.en: FP16 and INT8 must not keep a second copy of their weights."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest
from small_whisper import recipe_plan, write_artifact

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.recipe import load_recipe

PEAK = """
import sys
import numpy as np
from fastwhisper_compress.evaluation.memory_probe import peak_resident_bytes
from fastwhisper_compress.runtime import load_artifact
model = load_artifact(sys.argv[1], threads=2, offload=sys.argv[2])
noise = np.random.default_rng(0).normal(scale=0.01, size=160_000).astype(np.float32)
print(*model.transcribe(noise).tokens)
print(peak_resident_bytes())
"""


def tokens_and_peak(folder, offload="none"):
    """What ten seconds are heard as, and the median peak of three fresh processes that load an artifact to hear them."""
    command = [sys.executable, "-c", PEAK, folder, offload]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(3)]
    (tokens,) = {run.stdout.splitlines()[0] for run in runs}
    return tokens, statistics.median(int(run.stdout.splitlines()[1]) for run in runs)


@pytest.mark.slow
def test_half_precision_weights_are_held_once(tmp_path):
    checkpoint = open_checkpoint("openai/whisper-tiny.en")
    peaks = {}
    for recipe in ("fp32", "fp16", "int8_dynamic", "int8_attn_fp16"):
        compressed = recipe_plan(checkpoint, load_recipe(recipe).recipe)
        write_artifact(compressed.checkpoint, compressed.plan, tmp_path / recipe)
        _, peaks[recipe] = tokens_and_peak(tmp_path / recipe)
    attention = sum(t.size for name, t in checkpoint.tensors.items() if "_attn." in name and name.endswith("weight"))
    assert peaks["fp16"] <= 1.05 * peaks["fp32"]
    assert peaks["int8_attn_fp16"] <= peaks["int8_dynamic"] + 4 * attention
    assert peaks["int8_dynamic"] < 0.7 * peaks["fp32"]


@pytest.mark.slow
def test_offloading_saves_what_it_promises(tmp_path):
    checkpoint = open_checkpoint("openai/whisper-base")
    compressed = recipe_plan(checkpoint, load_recipe("fp32").recipe)
    write_artifact(compressed.checkpoint, compressed.plan, tmp_path / "base", offload="layers")
    tokens, peak = zip(*(tokens_and_peak(tmp_path / "base", mode) for mode in ("none", "phase", "layers")), strict=True)
    assert len(set(tokens)) == 1
    assert peak[1] <= 0.75 * peak[0]
    assert peak[2] <= 0.5 * peak[0]

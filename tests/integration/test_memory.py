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
model = load_artifact(sys.argv[1], threads=2)
noise = np.random.default_rng(0).normal(scale=0.01, size=160_000).astype(np.float32)
model.transcribe(noise)
print(peak_resident_bytes())
"""


def peak_bytes(folder):
    """Median of three fresh processes that load an artifact and transcribe ten seconds."""
    runs = [subprocess.run([sys.executable, "-c", PEAK, folder], check=True, capture_output=True) for _ in range(3)]
    return statistics.median(int(run.stdout) for run in runs)


@pytest.mark.slow
def test_half_precision_weights_are_held_once(tmp_path):
    checkpoint = open_checkpoint("openai/whisper-tiny.en")
    peaks = {}
    for recipe in ("fp32", "fp16", "int8_dynamic", "int8_attn_fp16"):
        compressed = recipe_plan(checkpoint, load_recipe(recipe).recipe)
        write_artifact(compressed.checkpoint, compressed.plan, tmp_path / recipe)
        peaks[recipe] = peak_bytes(tmp_path / recipe)
    attention = sum(t.size for name, t in checkpoint.tensors.items() if "_attn." in name and name.endswith("weight"))
    assert peaks["fp16"] <= 1.05 * peaks["fp32"]
    assert peaks["int8_attn_fp16"] <= peaks["int8_dynamic"] + 4 * attention
    assert peaks["int8_dynamic"] < 0.7 * peaks["fp32"]

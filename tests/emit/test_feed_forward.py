"""The few feed-forward channels that 8-bit activations cannot hold: which they are, and that nothing of them is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from small_whisper import opened, small_checkpoint, speech_like, sqnr_db, uniform_plan, write_artifact

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.emit.artifact import GRAPHS
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.feed_forward import outlier_channels
from fastwhisper_compress.emit.graph import Graph, WeightFile
from fastwhisper_compress.emit.precision import INT8_DYNAMIC, Plan, Precision

LAYER = "encoder.layers.0"
SPLIT = replace(INT8_DYNAMIC, split_outliers=True)
SAMPLES = speech_like(0.8)


@pytest.fixture(scope="module")
def lopsided():
    """A model in which three channels of a layer hold values a hundred times larger, and matter as much as all others."""
    checkpoint = small_checkpoint(11)
    changed = {}
    for name, axis, factor in (("fc1.weight", 0, 100.0), ("fc1.bias", 0, 100.0), ("fc2.weight", 1, 0.1)):
        values = checkpoint.tensors[f"{LAYER}.{name}"].astype(np.float32).copy()
        values[(slice(None),) * axis + ([3, 70, 200],)] *= factor
        changed[f"{LAYER}.{name}"] = values
    return checkpoint.with_tensors(changed)


def emitter(checkpoint, folder):
    with WeightFile(folder / "weights.bin") as weights:
        return Emitter(Graph("encoder", weights), checkpoint.tensors, Plan(), checkpoint.dims)


def test_outliers_are_found_from_the_weights(lopsided, tmp_path):
    assert outlier_channels(emitter(lopsided, tmp_path), LAYER) == [3, 70, 200]
    assert len(outlier_channels(emitter(small_checkpoint(11), tmp_path), LAYER)) <= 3


def test_in_base_they_are_the_channels_that_recordings_show(tmp_path):
    """Measured on speech: layer 3 has a dozen channels of 80 where the others stay below 8; layer 0 has none."""
    base = emitter(open_checkpoint("openai/whisper-base", offline=True), tmp_path)
    assert len(outlier_channels(base, "encoder.layers.3")) == 11
    assert outlier_channels(base, "encoder.layers.0") == []


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("fc1", [INT8_DYNAMIC, Precision(), Precision("weight_only", bits=8, group_size=32)], ids=str)
def test_what_is_computed_apart_comes_back(lopsided, tmp_path, fuse, fc1):
    plan = uniform_plan(lopsided.dims, INT8_DYNAMIC, fuse=fuse)
    hidden = {}
    for name, fc2 in (("exact", None), ("lumped", INT8_DYNAMIC), ("split", SPLIT)):
        chosen = {} if fc2 is None else {f"{LAYER}.fc1": fc1, f"{LAYER}.fc2": fc2}
        artifact = opened(lopsided, replace(plan, precision=chosen), tmp_path / name)
        hidden[name] = artifact.encode([SAMPLES], hidden=True).hidden
    lumped, split = (sqnr_db(hidden["exact"], hidden[name]) for name in ("lumped", "split"))
    assert split > 30
    assert split > lumped + 6


def test_what_stays_in_8_bits_holds_nothing_of_them(lopsided, tmp_path):
    artifact = opened(lopsided, Plan({f"{LAYER}.fc2": SPLIT}), tmp_path / "a")
    path = artifact.manifest.folder / GRAPHS["encoder"]
    tensors = {t.name: onnx.numpy_helper.to_array(t, str(path.parent)) for t in onnx.load(path).graph.initializer}
    assert not tensors[f"{LAYER}.fc2.weight_int8"][[3, 70, 200]].any()
    assert not tensors[f"{LAYER}.fc1.weight"][:, [3, 70, 200]].any()
    apart = [tensors[f"{LAYER}.outliers.{name}"] for name in ("rows", "bias", "columns")]
    assert apart[0].shape == (lopsided.dims.d_model, 3)
    lumped = write_artifact(lopsided, Plan({f"{LAYER}.fc2": INT8_DYNAMIC}), tmp_path / "b")
    split = write_artifact(lopsided, Plan({f"{LAYER}.fc2": SPLIT}), tmp_path / "c")
    bytes_of = [next(row.bytes for row in made.modules if row.path == f"{LAYER}.fc2") for made in (lumped, split)]
    assert bytes_of[1] - bytes_of[0] == sum(values.nbytes for values in apart)

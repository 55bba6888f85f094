"""Two factors for one linear: as near to its outputs as their rank allows, in every precision and for every reader."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from small_whisper import (
    SCHEMES,
    made_up_inputs,
    made_up_statistics,
    opened,
    recipe_plan,
    small_checkpoint,
    speech_like,
    sqnr_db,
    uniform_plan,
    write_artifact,
)

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.emit.artifact import GRAPHS
from fastwhisper_compress.emit.audit import audit
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.errors import GateError, RecipeError, UsageError
from fastwhisper_compress.memory.layout import layout_of
from fastwhisper_compress.memory.weights import stored_bytes
from fastwhisper_compress.passes.low_rank import factorise
from fastwhisper_compress.pipeline.reference import Reference
from fastwhisper_compress.recipe import Fuse, Int8Dynamic, LowRank, Prune, Recipe, Smooth, WeightOnly
from fastwhisper_compress.runtime.transcriber import load_artifact

CHECKPOINT = small_checkpoint(5)
EVERYWHERE = LowRank(variance=0.9, multiple_of=32)
PROMPT, TEXT, SAMPLES = (257, 270), tuple(b"Ten words."), speech_like(0.6, 2)


def made(*passes, checkpoint=CHECKPOINT):
    statistics = made_up_statistics(CHECKPOINT.dims)
    return recipe_plan(checkpoint, Recipe(version=1, name="test", passes=list(passes)), statistics=statistics)


@pytest.fixture(scope="module")
def factorised():
    return made(EVERYWHERE)


@pytest.fixture(scope="module")
def smaller(factorised):
    """The small Whisper with what can be factorised."""
    return factorised.checkpoint


@pytest.fixture(scope="module")
def mel(smaller, tmp_path_factory):
    """What the artifacts make of the samples."""
    return opened(smaller, uniform_plan(CHECKPOINT.dims), tmp_path_factory.mktemp("mel") / "a").log_mel(SAMPLES)


@pytest.fixture(scope="module")
def expected(smaller, mel):
    """What transformers makes of the products."""
    reference = Reference(smaller)
    hidden = reference.encode(mel)
    return hidden, reference.logits(hidden, PROMPT, TEXT)


@pytest.mark.parametrize(("out", "width"), [(96, 64), (64, 96), (64, 64)])
@pytest.mark.parametrize("variance", [0.5, 0.9, 0.97])
def test_no_factors_of_this_rank_are_nearer_and_no_smaller_rank_keeps_as_much(out, width, variance):
    rng = np.random.default_rng(out + width)
    weight = rng.normal(0, 1, (out, width)).astype(np.float32)
    x = made_up_inputs(rng, 500, width).astype(np.float64)
    found = factorise(weight, (x.T @ x / len(x)).astype(np.float32), x.mean(axis=0).astype(np.float32), variance, 1)
    assert found is not None
    rank = len(found.first)
    y = x @ weight.T.astype(np.float64)
    centred = y - y.mean(axis=0)
    error = x @ found.first.T @ found.second.T + found.shift - y
    energy = np.square(np.linalg.svd(centred, compute_uv=False))
    assert energy[:rank].sum() >= variance * energy.sum() > energy[: rank - 1].sum()
    assert np.square(error).sum() == pytest.approx(energy[rank:].sum(), rel=1e-3)
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=1e-4 * np.abs(y).max())
    inner = (x - x.mean(axis=0)) @ found.first.T
    assert inner.std(axis=0).max() < 3 * inner.std(), "no inner channel holds most of it"


def test_ranks_are_rounded_up_and_what_would_not_shrink_stays_whole():
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (64, 64)).astype(np.float32)
    white, mean = np.eye(64, dtype=np.float32), np.zeros(64, np.float32)
    assert factorise(weight, white, mean, 0.9, 1) is None
    found = factorise(weight, white, mean, 0.2, 16)
    assert found is not None
    assert len(found.first) == 16
    assert factorise(weight, white, mean, 0.2, 32) is None, "two of rank 32 are as large as the whole"
    assert factorise(weight, 0 * white, mean, 0.9, 16) is None, "nothing is known of inputs that were never alive"


def test_the_note_and_the_parameters_say_what_was_saved(factorised, smaller):
    applied = factorised.applied[0]
    paths = {name.split(".low_rank")[0] for name in smaller.tensors if ".low_rank." in name}
    assert applied.note.startswith(f"{len(paths)} of {applied.n_modules} modules as two factors, of rank 32 to")
    assert f"{1 - smaller.n_parameters / CHECKPOINT.n_parameters:.1%} of all parameters saved" in applied.note
    for path in paths:
        assert f"{path}.weight" not in smaller.tensors
        first, second = smaller.factors(path)
        assert first.shape[0] * (first.shape[1] + second.shape[0]) < first.shape[1] * second.shape[0]
        assert smaller.weight(path).shape == CHECKPOINT.tensors[f"{path}.weight"].shape
    assert smaller.multiplied_out().tensors.keys() == CHECKPOINT.tensors.keys()
    with pytest.raises(UsageError, match="no such tensor"):
        smaller.factorised(next(iter(paths)), first, second)


@pytest.mark.parametrize(
    ("scheme", "fuse"),
    [
        *(("fp32", True), ("fp32", False), ("fp16", True), ("int8_dynamic", True), ("int8_dynamic", False)),
        *(("int8", True), ("int4_asymmetric", True), ("int8_asymmetric", False)),
    ],
)
def test_the_graph_computes_the_products(smaller, expected, scheme, fuse, tmp_path):
    precision = SCHEMES[scheme]
    plan = uniform_plan(CHECKPOINT.dims, precision, fuse=fuse)
    if scheme == "int8_asymmetric":  # of groups of 64, which ranks of 32 do not have
        with pytest.raises(RecipeError, match="does not divide its 32 inputs") as caught:
            write_artifact(smaller, plan, tmp_path / "a")
        assert caught.value.place.endswith(".low_rank.1")
        return
    artifact = opened(smaller, plan, tmp_path / "a")
    encoded = artifact.encode([SAMPLES], hidden=True)
    found = encoded.hidden, artifact.forced_logits(encoded, PROMPT, TEXT)
    rows = json.loads((tmp_path / "a" / "manifest.json").read_text())["modules"]
    assert sum(row["parameters"] for row in rows) == smaller.n_parameters
    for one, other in zip(found, expected, strict=True):
        if scheme == "fp32":
            assert np.abs(one - other).max() < 2e-3
        else:
            assert sqnr_db(other, one) > (9 if "int4" in scheme else 20 if "int8" in scheme else 50)


def test_outliers_are_split_from_factors_too(smaller, tmp_path):
    name = "encoder.layers.0.fc1.low_rank.1.weight"
    loud = smaller.tensors[name].copy()
    loud[[7, 100]] *= 8
    loud = smaller.with_tensors({name: loud})
    split = made(Int8Dynamic(split_outliers=True), Fuse(), checkpoint=loud)
    emission = write_artifact(split.checkpoint, split.plan, tmp_path / "a")
    assert emission.fusions["outlier_channels"] == 2
    audit(tmp_path / "a", modules(CHECKPOINT.dims), split.plan, emission.modules)
    plain = opened(loud, uniform_plan(CHECKPOINT.dims), tmp_path / "b").encode([SAMPLES], hidden=True).hidden
    found = opened(loud, split.plan, tmp_path / "c").encode([SAMPLES], hidden=True).hidden
    assert sqnr_db(plain, found) > 20


def test_factors_are_streamed_with_their_layer(smaller, tmp_path):
    plan = uniform_plan(CHECKPOINT.dims)
    write_artifact(smaller, plan, tmp_path / "a", offload="layers")
    assert load_artifact(tmp_path / "a").transcribe(SAMPLES).tokens == (
        opened(smaller, plan, tmp_path / "b").transcribe(SAMPLES).tokens
    )


def test_the_audit_misses_a_factor(smaller, tmp_path):
    plan = uniform_plan(CHECKPOINT.dims, SCHEMES["int8_dynamic"])
    emission = write_artifact(smaller, plan, tmp_path / "a")
    audit(tmp_path / "a", modules(CHECKPOINT.dims), plan, emission.modules)
    rows = [row for row in emission.modules if not row.path.endswith("fc1.low_rank.1")]
    with pytest.raises(GateError, match=r"fc1\.low_rank\.1 is in no graph"):
        audit(tmp_path / "a", modules(CHECKPOINT.dims), plan, rows)
    with pytest.raises(GateError, match=r"low_rank\.0 is planned as fp32"):
        audit(tmp_path / "a", modules(CHECKPOINT.dims), Plan(fuse=plan.fuse), emission.modules)


def test_calibrated_rounding_knows_what_comes_out_of_the_first_factor(smaller, tmp_path):
    found = made(WeightOnly(bits=4, method="gptq"), Fuse(), checkpoint=smaller)
    paths = [path for path in found.plan.blocks if path.endswith("fc1.low_rank.1")]
    assert paths
    for path in paths:
        second = found.checkpoint.tensors[f"{path}.weight"]
        assert found.plan.blocks[path].values.shape == second.shape
    write_artifact(found.checkpoint, found.plan, tmp_path / "a")
    stored = {}
    for name in ("encoder", "decoder"):
        for tensor in onnx.load(tmp_path / "a" / GRAPHS[name]).graph.initializer:
            stored[tensor.name] = tensor
    held = onnx.numpy_helper.to_array(stored[f"{paths[0]}.weight_int4"]).reshape(-1)
    assert np.array_equal(held, found.plan.blocks[paths[0]].packed().reshape(-1))


def test_the_estimate_reads_the_ranks_from_the_manifest(smaller, tmp_path):
    plan = uniform_plan(CHECKPOINT.dims, SCHEMES["int8"])
    emission = write_artifact(smaller, plan, tmp_path / "a")
    passes = [EVERYWHERE, WeightOnly(bits=8), Fuse()]
    manifest = {
        "model": {"dims": vars(CHECKPOINT.dims)},
        "provider": "cpu",
        "offload": "none",
        "passes": [json.loads(one.model_dump_json(exclude={"only_on"})) for one in passes],
        "modules": [row.to_json() for row in emission.modules],
    }
    layout = layout_of(manifest)
    told = {module.path: stored_bytes(layout, module, precision) for module, precision in layout.modules()}
    assert told == {row.path: row.bytes for row in emission.modules}
    assert layout.channels("encoder.layers.0") == 256
    assert layout.width("decoder.layers.0.self_attn") == 128


def test_smoothing_and_structured_pruning_may_follow(smaller, expected, tmp_path):
    smoothed = made(Smooth(), checkpoint=smaller)
    plan = uniform_plan(CHECKPOINT.dims)
    artifact = opened(smoothed.checkpoint, plan, tmp_path / "a")
    logits = artifact.forced_logits(artifact.encode([SAMPLES]), PROMPT, TEXT)
    assert sqnr_db(expected[1], logits) > 80
    passes = [Prune(granularity=part, amount=0.5) for part in ("heads", "ffn")]
    pruned = made(*passes, checkpoint=smaller).checkpoint
    for path in ("encoder.layers.0.fc1", "encoder.layers.0.self_attn.q_proj"):
        left = {row.tobytes() for row in np.round(pruned.weight(path), 4)}
        whole = np.round(smaller.weight(path), 4)
        assert left <= {row.tobytes() for row in whole}
        assert len(left) == len(whole) // 2
    assert opened(pruned, plan, tmp_path / "b").transcribe(SAMPLES).tokens is not None


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ((EVERYWHERE, EVERYWHERE), "of low rank already"),
        ((EVERYWHERE, Prune(granularity="unstructured", amount=0.5)), "product of two factors"),
        ((Prune(granularity="ffn", amount=0.5), EVERYWHERE), "128 inputs after pruning, was calibrated with 256"),
    ],
)
def test_what_cannot_follow_is_refused_by_name(passes, message):
    with pytest.raises(RecipeError, match=message) as caught:
        made(*passes)
    assert caught.value.place.startswith(("encoder.layers.0", "decoder.layers.0"))
    assert caught.value.remedy


def test_statistics_of_smoothed_inputs_have_smoothed_means():
    before = made_up_statistics(CHECKPOINT.dims)
    after = before.divided({"encoder.layer_norm": np.full(128, 2, np.float32)})
    np.testing.assert_array_equal(after.mean("encoder.layer_norm") * 2, before.mean("encoder.layer_norm"))

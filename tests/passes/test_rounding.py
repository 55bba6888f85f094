"""Integers found with calibration: less harm at the output than rounding, and exactly those that the graph holds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small_whisper import made_up_inputs, recipe_plan, small_checkpoint, write_artifact

from fastwhisper_compress.emit.artifact import GRAPHS
from fastwhisper_compress.emit.quantize import blockwise, pack4
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.gptq import factorise, gptq_blocks
from fastwhisper_compress.passes.search import search_blocks
from fastwhisper_compress.recipe import Fuse, Prune, Recipe, WeightOnly

CHECKPOINT = small_checkpoint()


def dequantised(blocks, group_size):
    centred = blocks.values.astype(np.float64) - np.repeat(blocks.zero, group_size, axis=1)
    return centred * np.repeat(blocks.scale.astype(np.float64), group_size, axis=1)


@pytest.fixture(scope="module")
def layer():
    """A weight of 96 rows, and the second moment of correlated inputs with outliers."""
    rng = np.random.default_rng(3)
    weight = rng.normal(0, 0.05, (96, 256)).astype(np.float32)
    weight[0] = 0
    x = made_up_inputs(rng, 2000, 256)
    return weight, (x.T @ x / np.float32(len(x)))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [16, 64])
@pytest.mark.parametrize("symmetric", [True, False])
def test_search_harms_less_than_rounding_and_gptq_less_than_search(layer, bits, group_size, symmetric):
    weight, moment = layer
    nearest = blockwise(weight, bits, group_size, symmetric=symmetric)
    search = search_blocks(weight, np.diagonal(moment), bits, group_size, symmetric=symmetric)
    gptq = gptq_blocks(weight, factorise(moment, group_size, 0.01), bits, group_size, symmetric=symmetric)

    def output_error(blocks):
        error = dequantised(blocks, group_size) - weight
        return np.sum((error @ moment) * error)

    def weighted_error(blocks):
        return np.sum(np.square(dequantised(blocks, group_size) - weight) * np.diagonal(moment))

    assert weighted_error(search) < 0.95 * weighted_error(nearest)
    assert output_error(gptq) < 0.7 * output_error(search) < output_error(nearest)
    for blocks in (search, gptq):
        assert blocks.values.max() < 2**bits
        assert (blocks.zero == 2 ** (bits - 1)).all() or not symmetric
        assert not dequantised(blocks, group_size)[0].any(), "a row of zeros stays zero"


def test_gptq_without_correlation_or_outliers_is_a_search(layer):
    """Nothing can make up for an error when no input tells about another one."""
    weight, _ = layer
    identity = np.eye(256, dtype=np.float32)
    found = gptq_blocks(weight, factorise(identity, 32, 0.01), 4, 32, symmetric=True)
    searched = search_blocks(weight, np.ones(256, np.float32), 4, 32, symmetric=True)
    assert np.array_equal(found.values, searched.values)
    assert np.array_equal(found.scale, searched.scale)


def test_dead_inputs_do_no_harm(layer):
    weight, moment = layer
    dead = moment.copy()
    dead[32:96], dead[:, 32:96] = 0, 0
    found = gptq_blocks(weight, factorise(dead, 32, 0.01), 4, 32, symmetric=True)
    assert np.abs(dequantised(found, 32) - weight).max() < 0.1
    silent = gptq_blocks(weight, factorise(np.zeros_like(moment), 32, 0.01), 4, 32, symmetric=True)
    assert np.isfinite(silent.scale).all()


def test_the_inverse_factor_is_that_of_the_damped_moment(layer):
    _, moment = layer
    factor = factorise(moment, 32, 0.01)
    ordered = moment[np.ix_(factor.order, factor.order)] + 0.01 * np.diagonal(moment).mean() * np.eye(256)
    np.testing.assert_allclose(factor.upper.T @ factor.upper @ ordered, np.eye(256), atol=1e-2)
    assert np.array_equal(np.triu(factor.upper), factor.upper)
    assert np.array_equal(np.sort(factor.order), np.arange(256))
    blocks = factor.order.reshape(-1, 32) // 32
    assert (blocks == blocks[:, :1]).all(), "columns of one scale stay together"


def compressed(*passes):
    return recipe_plan(CHECKPOINT, Recipe(version=1, name="test", passes=list(passes)))


@pytest.mark.parametrize("method", ["search", "gptq"])
@pytest.mark.parametrize("fuse", [True, False])
def test_the_graph_holds_the_integers_that_were_found(tmp_path, method, fuse):
    made = compressed(WeightOnly(bits=4, symmetric=False, method=method), *([Fuse()] if fuse else []))
    write_artifact(made.checkpoint, made.plan, tmp_path / "a")
    blocks, stored = made.plan.blocks, {}
    for name in ("encoder", "decoder"):
        graph = onnx.load(tmp_path / "a" / GRAPHS[name]).graph
        for tensor in graph.initializer:
            packed = tensor.data_type == onnx.TensorProto.UINT4
            stored[tensor.name] = tensor.raw_data if packed else onnx.numpy_helper.to_array(tensor)

    def held(name):
        return stored[name] if isinstance(stored[name], bytes) else stored[name].tobytes()

    def expected(paths):
        return b"".join(pack4(blocks[path].values).tobytes() for path in paths)

    attention, end = "decoder.layers.0.self_attn", "weight_int4" if fuse else "weight_uint4"
    letters = [f"{attention}.{letter}_proj" for letter in "qkv"]
    if fuse:
        assert held(f"{attention}.qkv_proj.{end}") == expected(letters)
    else:
        assert [held(f"{path}.{end}") for path in letters] == [expected([path]) for path in letters]
    assert held(f"decoder.layers.0.fc2.{end}") == expected(["decoder.layers.0.fc2"])
    assert held(f"decoder.embed_tokens.{end}") == expected(["decoder.embed_tokens"])
    assert held("decoder.embed_tokens.rows") == expected(["decoder.embed_tokens"])
    assert np.array_equal(stored["decoder.layers.0.fc2.weight_scale"], blocks["decoder.layers.0.fc2"].scale)
    nearest = blockwise(CHECKPOINT.tensors["decoder.layers.0.fc2.weight"], 4, 32, symmetric=False)
    assert expected(["decoder.layers.0.fc2"]) != pack4(nearest.values).tobytes()


def test_the_note_says_the_method():
    notes = [compressed(WeightOnly(bits=4, method=method)).applied[0].note for method in ("nearest", "search", "gptq")]
    for note, words in zip(notes, ("rounded to nearest", "scales searched for", "rounded by GPTQ"), strict=True):
        assert words in note


def test_pruned_inputs_have_no_calibration():
    with pytest.raises(RecipeError, match="128 inputs after pruning, was calibrated with 256") as caught:
        compressed(Prune(granularity="ffn", amount=0.5), WeightOnly(bits=4, method="gptq"))
    assert caught.value.place.endswith(".fc2")

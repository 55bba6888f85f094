"""One linear layer in every precision, run by ONNX Runtime, against the same arithmetic in NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small_whisper import SCHEMES, small_checkpoint, small_dims

from fastwhisper_compress.emit.artifact import emit
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.graph import FLOAT, Graph, WeightFile
from fastwhisper_compress.emit.linear import linear, packed_linear
from fastwhisper_compress.emit.precision import INT8_DYNAMIC, Plan, Precision
from fastwhisper_compress.emit.quantize import blockwise
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.runtime.session import open_session

PATHS = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.k_proj", "encoder.layers.0.self_attn.v_proj")
PATH = PATHS[0]
BLOCK_SCHEMES = [name for name, precision in SCHEMES.items() if precision.scheme == "weight_only"]


@pytest.fixture
def run(tmp_path):
    """A function that writes linears into a graph, runs it, and returns the outputs, the nodes and the ledger."""

    def run_(x, tensors, precision, *, fuse, paths=(PATH,)):
        by_path = precision if isinstance(precision, dict) else dict.fromkeys(paths, precision)
        plan = Plan(by_path, frozenset(paths) if fuse else frozenset())
        with WeightFile(tmp_path / "weights.bin") as weights:
            e = Emitter(Graph("g", weights), tensors, plan, small_dims())
            value = e.graph.input("x", FLOAT, ["n", x.shape[-1]])
            outs = packed_linear(e, value, "qkv", paths) if len(paths) > 1 else [linear(e, value, paths[0])]
            for i, out in enumerate(outs):
                e.graph.output(f"y{i}", out, FLOAT, ["n", tensors[f"{paths[i]}.weight"].shape[0]])
            model = e.graph.model()
            onnx.save(model, tmp_path / "g.onnx")
        session = open_session(tmp_path / "g.onnx", "cpu")
        return session.run(None, {"x": x}), [node.op_type for node in model.graph.node], e

    return run_


def layer(out=96, width=128, seed=0, *, bias=True, path=PATH):
    rng = np.random.default_rng(seed)
    tensors = {f"{path}.weight": rng.normal(0, 0.1, (out, width)).astype(np.float32)}
    if bias:
        tensors[f"{path}.bias"] = rng.normal(0, 1, out).astype(np.float32)
    return tensors


def inputs(rows=7, width=128, seed=1):
    """Activations with a mean, outliers and one small row: what INT8 scales have to live with."""
    x = np.random.default_rng(seed).normal(0.3, 1, (rows, width)).astype(np.float32)
    x[:, 5] *= 15
    x[-1] *= 0.01
    return x


def w8a8(x, weight, bias):
    """ONNX's DynamicQuantizeLinear on the whole input, an exact integer product, and a scale a channel."""
    low, high = min(x.min(), 0), max(x.max(), 0)
    x_scale = np.float32((high - low) / np.float32(255))
    zero = np.rint(-low / x_scale)
    x_int = np.clip(np.rint(x / x_scale) + zero, 0, 255).astype(np.int64) - int(zero)
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    w_int = np.rint(weight / scale[:, None]).astype(np.int64)
    return (x_int @ w_int.T) * (np.float64(x_scale) * scale) + bias


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_int8_dynamic_is_w8a8(run, fuse, seed):
    x, tensors = inputs(seed=seed), layer(seed=seed)
    (found,), ops, _ = run(x, tensors, INT8_DYNAMIC, fuse=fuse)
    assert ("DynamicQuantizeMatMul" in ops) == fuse
    assert ("MatMulInteger" in ops) != fuse
    expected = w8a8(x, tensors[f"{PATH}.weight"], tensors[f"{PATH}.bias"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    # The simulation is not FP32 in disguise: quantisation is visible.
    assert np.abs(found - (x @ tensors[f"{PATH}.weight"].T + tensors[f"{PATH}.bias"])).max() > 1e-2


def dequantised(weight, precision):
    blocks = blockwise(weight, precision.bits, precision.group_size, symmetric=precision.symmetric)
    centred = blocks.values.astype(np.float64) - np.repeat(blocks.zero, precision.group_size, axis=1)
    return centred * np.repeat(blocks.scale, precision.group_size, axis=1)


@pytest.mark.parametrize("scheme", BLOCK_SCHEMES)
def test_plain_weight_only_is_the_dequantised_product(run, scheme):
    x, tensors = inputs(), layer()
    (found,), ops, _ = run(x, tensors, SCHEMES[scheme], fuse=False)
    assert {"DequantizeLinear", "MatMul"} <= set(ops)
    assert "MatMulNBits" not in ops
    expected = x @ dequantised(tensors[f"{PATH}.weight"], SCHEMES[scheme]).T + tensors[f"{PATH}.bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scheme", BLOCK_SCHEMES)
@pytest.mark.parametrize("rows", [1, 7])
def test_fused_weight_only_is_the_dequantised_product_within_int8_activations(run, scheme, rows):
    """accuracy_level 4 lets the kernel round each block of activations to INT8: at most half a step an input."""
    precision = SCHEMES[scheme]
    x, tensors = inputs(rows), layer()
    (found,), ops, _ = run(x, tensors, precision, fuse=True)
    assert ops.count("MatMulNBits") == 1
    weight = dequantised(tensors[f"{PATH}.weight"], precision)
    error = np.abs(found - (x @ weight.T + tensors[f"{PATH}.bias"]))
    group = precision.group_size
    step = np.abs(x.reshape(rows, -1, group)).max(axis=2) / 127
    bound = (step[:, None, :] / 2 * np.abs(weight.reshape(1, len(weight), -1, group)).sum(axis=3)).sum(axis=2)
    assert np.all(error <= bound * 1.01 + 1e-4)
    assert error.mean() < bound.mean() / 4  # roundings cancel, unless something is systematically off


@pytest.mark.parametrize("fuse", [True, False])
def test_fp16_on_cpu_rounds_the_weights_and_nothing_else(run, fuse):
    x, tensors = inputs(), layer()
    (found,), ops, e = run(x, tensors, SCHEMES["fp16"], fuse=fuse)
    expected = x @ tensors[f"{PATH}.weight"].astype(np.float16).astype(np.float64).T + tensors[f"{PATH}.bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert ops.count("Cast") == 1
    (row,) = e.ledger
    assert (row.storage, row.compute, row.kernel) == ("fp16", "fp32", "MatMul")
    assert row.bytes == 2 * 96 * 128 + 4 * 96


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("fuse", [True, False])
def test_packing_q_k_and_v_changes_nothing(run, scheme, fuse):
    """The key has no bias, pruned layers have unequal widths, and every output must come from its own rows."""
    tensors = {}
    for i, (path, out) in enumerate(zip(PATHS, (64, 64, 96), strict=True)):
        tensors |= layer(out, seed=i, bias=i != 1, path=path)
    x = inputs()
    together, ops, e = run(x, tensors, SCHEMES[scheme], fuse=fuse, paths=PATHS)
    assert ("Split" in ops) == fuse
    assert e.graph.fusions["packed_qkv"] == fuse
    assert [row.path for row in e.ledger] == list(PATHS)
    for path, found in zip(PATHS, together, strict=True):
        (alone,), _, other = run(x, tensors, SCHEMES[scheme], fuse=fuse, paths=(path,))
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)
        assert next(row.bytes for row in e.ledger if row.path == path) == other.ledger[0].bytes


def test_modules_of_two_precisions_are_not_packed(run):
    tensors = {}
    for i, path in enumerate(PATHS):
        tensors |= layer(64, seed=i, path=path)
    x = inputs()
    found, ops, e = run(x, tensors, {PATHS[0]: INT8_DYNAMIC}, fuse=True, paths=PATHS)
    assert "Split" not in ops
    assert [row.storage for row in e.ledger] == ["int8", "fp32", "fp32"]
    np.testing.assert_allclose(found[1], x @ tensors[f"{PATHS[1]}.weight"].T + tensors[f"{PATHS[1]}.bias"], atol=1e-4)


def test_a_group_that_does_not_divide_the_inputs_is_refused(tmp_path):
    checkpoint = small_checkpoint()
    path = "decoder.layers.0.fc1"
    narrow = checkpoint.with_tensors({f"{path}.weight": checkpoint.tensors[f"{path}.weight"][:, :96]})
    with pytest.raises(RecipeError, match="group_size 64 does not divide its 96 inputs") as caught:
        emit(narrow, Plan({path: Precision("weight_only", 4, 64)}), tmp_path)
    assert caught.value.place == path
    assert "32" in caught.value.remedy
    assert not list(tmp_path.iterdir())

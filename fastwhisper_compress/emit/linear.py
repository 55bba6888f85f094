"""Linear layers and the tied embedding, each in the precision that the plan gives it.

The kernel is decided when its node is written; no graph is rewritten afterwards:

=================  ===============================================  =============================================
precision          fused                                            plain (standard operators only)
=================  ===============================================  =============================================
fp32               MatMul                                           MatMul
fp16 on CPU        Cast (folded when the graph loads), MatMul       the same
fp16 on CUDA       FP16 MatMul                                      the same
int8_dynamic       DynamicQuantizeMatMul                            DynamicQuantizeLinear, MatMulInteger, Mul
weight_only        MatMulNBits                                      block-wise DequantizeLinear, MatMul
=================  ===============================================  =============================================

A linear that is kept as two factors is two such multiplications, both in its precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from fastwhisper_compress.checkpoint.factors import factor_paths
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.graph import FLOAT, FLOAT16, INT32, MS
from fastwhisper_compress.emit.precision import Precision
from fastwhisper_compress.emit.quantize import Blocks, pack4, per_channel_int8

_INT8_COMPUTE = 4  # MatMulNBits accuracy_level: activations are quantised to INT8 block by block


@dataclass(frozen=True)
class Parts:
    """Linears of one input and one precision that are multiplied together, such as Q, K and V."""

    name: str
    paths: tuple[str, ...]
    weight: np.ndarray  # (sum of out, in)
    bias: np.ndarray | None
    precision: Precision
    fused: bool
    absent: tuple[int, ...] = ()  # rows that are zero here, because they are computed elsewhere


def linear(
    e: Emitter,
    x: str,
    path: str,
    *,
    with_bias: bool = True,
    without_outputs: Sequence[int] = (),
    without_inputs: Sequence[int] = (),
) -> str:
    """Write ``x @ W.T (+ b)`` for one module.

    Args:
        e: The emitter.
        x: The input value, shape (batch, length, in).
        path: The module.
        with_bias: False where the caller lets a fused operator add the bias.
        without_outputs: Output channels to write as zero, because the caller computes them elsewhere.
        without_inputs: Input channels likewise.

    Returns:
        The output value, (batch, length, out), in the compute type of the module's precision.
    """
    if e.factorised(path):
        first, second = factor_paths(path)
        inner = linear(e, x, first, without_inputs=without_inputs)
        return linear(e, inner, second, with_bias=with_bias, without_outputs=without_outputs)
    parts = replace(_parts(e, path, (path,)), absent=tuple(without_outputs))
    parts.weight[list(without_outputs)] = 0
    parts.weight[:, list(without_inputs)] = 0
    if parts.bias is not None:
        parts.bias[list(without_outputs)] = 0
    return write_linear(e, x, parts, with_bias=with_bias)


def packed_linear(e: Emitter, x: str, name: str, paths: Sequence[str]) -> list[str]:
    """Write several linears of the same input, as one multiplication where all have one precision and may be fused.

    Args:
        e: The emitter.
        x: The input value, shape (batch, length, in).
        name: Module path that names the packed multiplication.
        paths: The modules, in order.

    Returns:
        One output value a module.
    """
    one_precision = len({e.plan.of(path) for path in paths}) == 1
    if not one_precision or any(e.factorised(path) or not e.fused(path) for path in paths):
        return [linear(e, x, path) for path in paths]
    parts = _parts(e, name, tuple(paths))
    in_kernel = parts.precision.scheme in ("int8_dynamic", "weight_only")  # which add a bias for nothing
    packed = write_linear(e, x, parts, with_bias=in_kernel)
    kind = e.graph.type_of(packed)
    widths = [e.weight(path).shape[0] for path in paths]
    outs = [f"{path}.product" for path in paths]
    e.graph.node("Split", [packed, e.graph.const(widths)], outs, f"{name}.split", dtype=kind, axis=-1)
    e.graph.fusions["packed_qkv"] += 1
    if in_kernel:
        return outs
    # Keys have no bias, so adding behind the split adds less than before it, and holds no second copy of all three.
    biases = [None if e.bias(path) is None else bias(e, path, kind) for path in paths]
    return [_add(e, out, added, path) for out, added, path in zip(outs, biases, paths, strict=True)]


def bias(e: Emitter, path: str, dtype: int = FLOAT) -> str:
    """Return the initializer of a module's bias."""
    values = e.bias(path)
    if values is None:
        raise KeyError(f"{path} has no bias")
    suffix = "" if dtype == FLOAT else ".fp16"
    return e.graph.tensor(f"{path}.bias{suffix}", values.astype(np.float16 if dtype == FLOAT16 else np.float32))


def _parts(e: Emitter, name: str, paths: tuple[str, ...]) -> Parts:
    weights = [e.weight(path) for path in paths]
    biases = [e.bias(path) for path in paths]
    joined = None
    if any(b is not None for b in biases):
        joined = np.concatenate(
            [np.zeros(len(w), np.float32) if b is None else b for w, b in zip(weights, biases, strict=True)]
        )
    return Parts(name, paths, np.concatenate(weights), joined, e.plan.of(paths[0]), all(e.fused(p) for p in paths))


def write_linear(e: Emitter, x: str, parts: Parts, *, with_bias: bool, tied: str | None = None) -> str:
    """Write the multiplication of ``parts`` in their precision.

    Args:
        e: The emitter.
        x: The input value, shape (..., in).
        parts: What is multiplied together.
        with_bias: Whether to add the bias.
        tied: Path of the embedding whose stored bytes the weight shares, None for a weight of its own.

    Returns:
        The output value, (..., out), in the compute type of the precision.
    """
    g, name = e.graph, parts.name
    kind = e.compute_type(parts.precision)
    x = g.cast(x, kind)
    added = None
    if with_bias and parts.bias is not None:
        added = g.tensor(f"{name}.bias", parts.bias.astype(np.float16 if kind == FLOAT16 else np.float32))
    if parts.precision.scheme == "int8_dynamic":
        out, kernel, node, weight, stored = _int8_dynamic(e, x, parts, added, tied)
    elif parts.precision.scheme == "weight_only":
        out, kernel, node, weight, stored = _weight_only(e, x, parts, added, tied)
    else:
        half = parts.precision.scheme == "fp16"
        weight = g.tensor(
            f"{name}.weight", np.ascontiguousarray(parts.weight.T.astype(np.float16 if half else np.float32))
        )
        node = f"{name}.matmul" if added else name
        out = g.node("MatMul", [x, g.cast(weight, kind)], f"{node}.out", node, dtype=kind)
        out = _add(e, out, added, name)
        kernel, stored = "MatMul", parts.weight.size * (2 if half else 4)
    for path in parts.paths:
        share = e.weight(path).shape[0] / len(parts.weight)
        module_bias = e.bias(path)
        bytes_ = round(stored * share) + (0 if module_bias is None else 4 * module_bias.size)
        e.record(path, "embedding" if tied else "linear", kernel, node, weight, stored=bytes_)
    return out


def _add(e: Emitter, x: str, added: str | None, name: str) -> str:
    if added is None:
        return x
    return e.graph.node("Add", [x, added], f"{name}.out", f"{name}.bias_add", dtype=e.graph.type_of(x))


_Result = tuple[str, str, str, str, int]  # output, kernel, node, weight, bytes stored


def _int8_dynamic(e: Emitter, x: str, parts: Parts, added: str | None, tied: str | None) -> _Result:
    g, name = e.graph, parts.name
    values, scale = per_channel_int8(parts.weight)
    weight = g.tensor(f"{tied or name}.weight_int8", np.ascontiguousarray(values.T))  # (in, out)
    scales = g.tensor(f"{tied or name}.weight_scale", scale)
    stored = values.size + 4 * scale.size
    if parts.fused:
        inputs = [x, weight, scales] + (["", added] if added else [])
        out = g.node("DynamicQuantizeMatMul", inputs, f"{name}.out", name, domain=MS)
        g.fusions["dynamic_quantize_matmul"] += 1
        return out, "DynamicQuantizeMatMul", name, weight, stored
    quantised = [f"{name}.x_int8", f"{name}.x_scale", f"{name}.x_zero"]
    g.node("DynamicQuantizeLinear", [x], quantised, f"{name}.quantize", dtype=TensorProto.UINT8)
    product = g.node("MatMulInteger", [quantised[0], weight, quantised[2]], f"{name}.int32", name, dtype=INT32)
    factor = g.node("Mul", [quantised[1], scales], f"{name}.scale", f"{name}.scale_mul")
    out = g.node("Mul", [g.cast(product, FLOAT), factor], f"{name}.scaled", f"{name}.rescale")
    return _add(e, out, added, name), "MatMulInteger", name, weight, stored


def _weight_only(e: Emitter, x: str, parts: Parts, added: str | None, tied: str | None) -> _Result:
    g, name = e.graph, parts.name
    blocks = e.blocks(parts.paths).without(parts.absent)
    kind = e.compute_type(parts.precision)
    out_width, in_width = parts.weight.shape
    scale = g.cast(g.tensor(f"{tied or name}.weight_scale", blocks.scale), kind)  # folded when the graph loads
    stored = blocks.packed().nbytes + blocks.scale.nbytes
    if parts.fused:
        group = parts.precision.group_size
        packed = blocks.packed().reshape(out_width, in_width // group, -1)
        weight = g.tensor(f"{tied or name}.weight_int{blocks.bits}", packed)
        inputs = [x, weight, scale]
        if not blocks.symmetric:
            zero = blocks.packed_zero()
            inputs.append(g.tensor(f"{tied or name}.weight_zero", zero))
            stored += zero.nbytes
        if added:
            inputs += [""] * (5 - len(inputs)) + [added]
        attributes = {"K": in_width, "N": out_width, "bits": blocks.bits, "block_size": group}
        out = g.node(
            "MatMulNBits",
            inputs,
            f"{name}.out",
            name,
            domain=MS,
            dtype=kind,
            accuracy_level=0 if kind == FLOAT16 else _INT8_COMPUTE,
            **attributes,
        )
        g.fusions["matmul_nbits"] += 1
        return out, "MatMulNBits", name, weight, stored
    weight, dequantised = dequantise(e, blocks, tied or name, scale, parts.precision.group_size)
    stored += pack4(blocks.zero.reshape(-1)).nbytes if blocks.bits == 4 else blocks.zero.nbytes
    turned = g.node("Transpose", [dequantised], f"{name}.weight_t", f"{name}.transpose", dtype=kind, perm=[1, 0])
    out = g.node("MatMul", [x, turned], f"{name}.product", name, dtype=kind)
    return _add(e, out, added, name), "DequantizeLinear+MatMul", name, weight, stored


def dequantise(e: Emitter, blocks: Blocks, path: str, scale: str, group_size: int) -> tuple[str, str]:
    """Write a block-quantised weight as a standard DequantizeLinear.

    The bytes are those of MatMulNBits; the standard operator only needs the zero points spelled out.

    Returns:
        The initializer of the integers and the value of the weight, (out, in), in the type of ``scale``.
    """
    g = e.graph
    four = blocks.bits == 4
    kind = TensorProto.UINT4 if four else TensorProto.UINT8
    weight = g.tensor(f"{path}.weight_uint{blocks.bits}", blocks.values, dtype=kind, data=blocks.packed().tobytes())
    zero_bytes = pack4(blocks.zero.reshape(-1)) if four else blocks.zero
    zero = g.tensor(f"{path}.weight_zero_plain", blocks.zero, dtype=kind, data=zero_bytes.tobytes())
    value = g.node(
        "DequantizeLinear",
        [weight, scale, zero],
        f"{path}.dequantised",
        f"{path}.dequantise",
        dtype=g.type_of(scale),
        axis=1,
        block_size=group_size,
    )
    return weight, value

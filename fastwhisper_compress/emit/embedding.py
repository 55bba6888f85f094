"""The tied embedding: token lookup and logits from one tensor, stored once.

The lookup and the logits name two initializers that point at the same bytes of the weight file. A runtime may then
repack the one that the logits multiply with, and drop the original, while the lookup touches only the mapped rows it
needs.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.graph import FLOAT, FLOAT16, MS
from fastwhisper_compress.emit.linear import Parts, write_linear
from fastwhisper_compress.emit.precision import Precision
from fastwhisper_compress.emit.quantize import per_channel_int8


def token_embedding(e: Emitter, ids: str, path: str) -> str:
    """Write the lookup of token rows.

    Shapes: ``ids`` int64 (batch, length) -> float32 (batch, length, d_model).
    """
    g, precision, weight = e.graph, e.plan.of(path), e.weight(path)
    out = f"{path}.lookup"
    if precision.scheme in ("fp32", "fp16"):
        table = g.tensor(f"{path}.rows", weight.astype(np.float16 if precision.scheme == "fp16" else np.float32))
        return g.cast(g.node("Gather", [table, ids], out, out, dtype=g.type_of(table)), FLOAT)
    if precision.scheme == "int8_dynamic":
        values, scale = per_channel_int8(weight)
        table = g.tensor(f"{path}.columns", np.ascontiguousarray(values.T))  # as the logits multiply: a token a column
        column = g.node("Gather", [table, ids], f"{out}.column", f"{out}.column", dtype=TensorProto.INT8, axis=1)
        row = g.node("Transpose", [column], f"{out}.row", f"{out}.row", dtype=TensorProto.INT8, perm=[1, 2, 0])
        scales = g.tensor(f"{path}.row_scale", scale[:, None])
        factor = g.node("Gather", [scales, ids], f"{out}.scale", f"{out}.scale")
        return g.node("Mul", [g.cast(row, FLOAT), factor], out, out)
    return _block_lookup(e, ids, path, weight, precision)


def tied_logits(e: Emitter, x: str, path: str, name: str = "proj_out") -> str:
    """Write the logits as ``x @ E.T`` with the embedding's own bytes.

    Shapes: ``x`` (batch, d_model) -> float32 (batch, n_vocab).
    """
    g, precision, weight = e.graph, e.plan.of(path), e.weight(path)
    if precision.scheme in ("fp32", "fp16"):
        half = precision.scheme == "fp16"
        table = g.tensor(f"{path}.weight", weight.astype(np.float16 if half else np.float32))
        kind = e.compute_type(precision)
        out = g.node("Gemm", [g.cast(x, kind), g.cast(table, kind)], name, name, dtype=kind, transB=1)
        e.record(path, "embedding", "Gemm", name, table, stored=weight.size * (2 if half else 4))
    else:
        parts = Parts(name, (path,), weight, None, precision, e.fused(path))
        out = write_linear(e, x, parts, with_bias=False, tied=path)
    return g.cast(out, FLOAT)


def _block_lookup(e: Emitter, ids: str, path: str, weight: np.ndarray, precision: Precision) -> str:
    """Write the lookup from a block-quantised table: gather bytes, scales and zero points, then dequantise the rows."""
    g, out = e.graph, f"{path}.lookup"
    group = precision.group_size
    blocks = e.blocks((path,))
    table = g.tensor(f"{path}.rows", blocks.packed())
    if e.fused(path):
        inputs = [table, ids, g.tensor(f"{path}.row_scale", blocks.scale)]
        if not blocks.symmetric:
            inputs.append(g.tensor(f"{path}.row_zero", blocks.packed_zero()))
        g.fusions["gather_block_quantized"] += 1
        rows = g.node(
            "GatherBlockQuantized",
            inputs,
            out,
            out,
            domain=MS,
            dtype=FLOAT16,
            bits=blocks.bits,
            block_size=group,
            gather_axis=0,
            quantize_axis=1,
        )
        return g.cast(rows, FLOAT)
    row = g.node("Gather", [table, ids], f"{out}.bytes", f"{out}.bytes", dtype=TensorProto.UINT8)
    if blocks.bits == 4:
        low = g.node(
            "BitwiseAnd", [row, g.const(15, TensorProto.UINT8)], f"{out}.low", f"{out}.low", dtype=TensorProto.UINT8
        )
        high = g.node(
            "BitShift", [row, g.const(4, TensorProto.UINT8)], f"{out}.high", f"{out}.high", dtype=TensorProto.UINT8,
            direction="RIGHT",
        )  # fmt: skip
        halves = [
            g.node("Unsqueeze", [half, g.const([-1])], f"{half}.pair", f"{half}.pair", dtype=TensorProto.UINT8)
            for half in (low, high)
        ]
        row = g.node("Concat", halves, f"{out}.pairs", f"{out}.pairs", dtype=TensorProto.UINT8, axis=-1)
    grouped = g.node(
        "Reshape", [row, g.const([0, 0, weight.shape[1] // group, group])], f"{out}.blocks", f"{out}.blocks",
        dtype=TensorProto.UINT8,
    )  # fmt: skip
    zeros = g.tensor(f"{path}.row_zero_plain", blocks.zero.astype(np.float32)[..., None])
    zero = g.node("Gather", [zeros, ids], f"{out}.zero", f"{out}.zero")
    factors = g.tensor(f"{path}.row_scale_plain", blocks.scale[..., None])
    factor = g.cast(g.node("Gather", [factors, ids], f"{out}.scale", f"{out}.scale", dtype=FLOAT16), FLOAT)
    centred = g.node("Sub", [g.cast(grouped, FLOAT), zero], f"{out}.centred", f"{out}.centre")
    scaled = g.node("Mul", [centred, factor], f"{out}.scaled", f"{out}.rescale")
    return g.node("Reshape", [scaled, g.const([0, 0, weight.shape[1]])], out, out)

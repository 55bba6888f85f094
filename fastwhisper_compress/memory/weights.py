"""Bytes of weights: in the file, and in the memory of the runtime that repacks them for its kernels."""

from __future__ import annotations

import math
from collections import Counter

from fastwhisper_compress.checkpoint.dims import Module
from fastwhisper_compress.emit.precision import Precision
from fastwhisper_compress.memory.layout import Layout


def stored_bytes(layout: Layout, module: Module, precision: Precision) -> int:
    """Return what a module takes in the weight file: exactly, but for outlier channels, which only the weights name."""
    shapes = [layout.shapes[name] for name in module.tensors]
    biases = sum(4 * shape[0] for name, shape in zip(module.tensors, shapes, strict=True) if name.endswith(".bias"))
    if module.kind == "layer_norm":
        return sum(4 * shape[0] for shape in shapes)
    weight = shapes[0]
    n = math.prod(weight)
    if precision.scheme in ("fp32", "fp16") or module.kind in ("conv", "positions"):
        return n * (2 if precision.scheme == "fp16" else 4) + biases
    if precision.scheme == "int8_dynamic":
        return n + 4 * weight[0] + biases
    groups = n // precision.group_size
    zeros = 0
    if not precision.symmetric or module.path not in layout.plan.fuse:
        zeros = -(-groups // 2) if precision.bits == 4 else groups
    return n * precision.bits // 8 + 2 * groups + zeros + biases


def stored_by_precision(layout: Layout) -> dict[str, int]:
    """Return the bytes of the weight file by the type they are stored in."""
    found: Counter[str] = Counter()
    for module, precision in layout.modules():
        storage = "fp32" if module.kind == "layer_norm" else precision.storage
        found[storage] += stored_bytes(layout, module, precision)
    return dict(found)


def resident_bytes(layout: Layout, module: Module, precision: Precision) -> int:
    """Return what a module's weights take once they are loaded.

    ONNX Runtime's CPU kernels keep a packed copy and drop the original (MLAS, ``onnxruntime/core/mlas``): FP32 as it is,
    FP16 expanded to FP32, INT8 with a sum a column, MatMulNBits with the scales in FP32 twice over (as given and packed) and
    a sum a block. The token lookup maps its rows from the file and is not counted. On CUDA weights stay as they are
    stored, but for the scales, which take their kernel's type, and the embedding lies there twice, once for the lookup and
    once for the logits.
    """
    weight = layout.shapes[module.tensors[0]]
    n = math.prod(weight)
    if layout.plan.provider == "cuda":
        twice = 2 if module.kind == "embedding" else 1
        return twice * stored_bytes(layout, module, precision)
    if module.kind in ("layer_norm", "conv", "positions") or precision.scheme in ("fp32", "fp16"):
        return sum(4 * math.prod(layout.shapes[name]) for name in module.tensors)
    biases = 4 * weight[0] if len(module.tensors) > 1 else 0
    if precision.scheme == "int8_dynamic":
        return n + 8 * weight[0] + biases
    groups = n // precision.group_size
    fused = module.path in layout.plan.fuse
    if not fused:  # DequantizeLinear of a constant is folded when the graph loads: the weight is FP32 from then on
        return 4 * n + biases
    return n * precision.bits // 8 + 12 * groups + (0 if precision.symmetric else groups) + biases


def resident(layout: Layout, side: str | None = None) -> int:
    """Return the bytes of all loaded weights, or of one side's: ``encoder`` or ``decoder``.

    The decoder's cross-attention keys and values are computed by the encoder's graph, which therefore holds their
    projections.
    """
    return sum(
        resident_bytes(layout, module, precision)
        for module, precision in layout.modules()
        if side is None or graph_of(module.path) == side
    )


def graph_of(path: str) -> str:
    """Return which graph computes a module: ``encoder`` or ``decoder``."""
    crossing = path.endswith((".encoder_attn.k_proj", ".encoder_attn.v_proj"))
    return "encoder" if path.startswith("encoder.") or crossing else "decoder"

"""Bytes of weights: in the file, and in the memory of the runtime that repacks them for its kernels."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from fastwhisper_compress.checkpoint.dims import Module
from fastwhisper_compress.checkpoint.factors import owner
from fastwhisper_compress.emit.precision import Precision
from fastwhisper_compress.emit.streamable import LOGITS_BAND_BYTES
from fastwhisper_compress.memory.layout import Layout


@dataclass(frozen=True)
class Weights:
    """The weights of a layout, in bytes.

    Attributes:
        stored: In the weight file, by the type they are stored in.
        encoder: Loaded by the encoder's graph.
        decoder: Loaded by the decoder's graph.
        largest_stored: The largest tensor of the file.
        token_table: The embedding in the file, of which the token lookup maps rows.
        largest_part: The most that is in memory at once where layers are streamed: a layer, or a band of the logits.
    """

    stored: dict[str, int]
    encoder: int
    decoder: int
    largest_stored: int
    token_table: int
    largest_part: int

    @property
    def loaded(self) -> int:
        """All of them, in memory."""
        return self.encoder + self.decoder


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
    if not precision.symmetric or not layout.plan.fuses(module.path):
        zeros = -(-groups // 2) if precision.bits == 4 else groups
    return n * precision.bits // 8 + 2 * groups + zeros + biases


def resident_bytes(layout: Layout, module: Module, precision: Precision) -> int:
    """Return what a module's weights take once they are loaded.

    ONNX Runtime's CPU kernels keep a packed copy and drop the original (MLAS, ``onnxruntime/core/mlas``): FP32 as it is,
    FP16 expanded to FP32, INT8 with a sum a column, MatMulNBits with the scales in FP32 twice over (as given and packed) and
    a sum a block. The token lookup maps its rows from the file; that is counted apart. On CUDA weights stay as they are
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
    if not layout.plan.fuses(
        module.path
    ):  # DequantizeLinear of a constant is folded when the graph loads: the weight is FP32 from then on
        return 4 * n + biases
    return n * precision.bits // 8 + 12 * groups + (0 if precision.symmetric else groups) + biases


def weigh(layout: Layout) -> Weights:
    """Add up the weights of a layout.

    The decoder's cross-attention keys and values are computed by the encoder's graph, which therefore holds their
    projections.
    """
    stored: Counter[str] = Counter()
    loaded: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    largest = table = 0
    for module, precision in layout.modules():
        size, kept = stored_bytes(layout, module, precision), resident_bytes(layout, module, precision)
        stored["fp32" if module.kind == "layer_norm" else precision.storage] += size
        loaded[graph_of(module.path)] += kept
        parts[_part(module)] += min(kept, LOGITS_BAND_BYTES) if module.kind == "embedding" else kept
        largest = max(largest, size)
        table = size if module.kind == "embedding" else table
    return Weights(dict(stored), loaded["encoder"], loaded["decoder"], largest, table, max(parts.values()))


def encoder_copy_bytes(layout: Layout) -> int:
    """Return the encoder's weights that are not int8_dynamic: what a backend that repacks them holds once more."""
    return sum(
        resident_bytes(layout, module, precision)
        for module, precision in layout.modules()
        if graph_of(module.path) == "encoder" and precision.scheme != "int8_dynamic"
    )


def _part(module: Module) -> str:
    """Return what is streamed together: a layer, with the graph that computes it, or a module outside of layers."""
    words = module.path.split(".")
    return ".".join([graph_of(module.path), *words[1:3]]) if words[1] == "layers" else module.path


def graph_of(path: str) -> str:
    """Return which graph computes a module: ``encoder`` or ``decoder``."""
    crossing = owner(path).endswith((".encoder_attn.k_proj", ".encoder_attn.v_proj"))
    return "encoder" if path.startswith("encoder.") or crossing else "decoder"

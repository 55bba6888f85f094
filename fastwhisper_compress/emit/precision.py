"""What a weight is stored as and what its kernel computes in: the vocabulary between passes and the emitter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fastwhisper_compress.checkpoint.factors import owner

if TYPE_CHECKING:
    import numpy as np

    from fastwhisper_compress.emit.quantize import Blocks

Storage = Literal["fp32", "fp16", "int8", "int4"]
Scheme = Literal["fp32", "fp16", "int8_dynamic", "weight_only"]
Provider = Literal["cpu", "cuda"]
Method = Literal["nearest", "search", "gptq"]


@dataclass(frozen=True)
class Precision:
    """How one module's weight is written.

    Attributes:
        scheme: ``fp32``; ``fp16`` (compute type on CUDA, storage only on CPU); ``int8_dynamic`` (W8A8, one weight
            scale per output channel, one activation scale per tensor found at run time); ``weight_only`` (blocks of
            ``group_size`` weights along the input dimension share one scale).
        bits: Of a ``weight_only`` weight, 4 or 8.
        group_size: Weights per scale of ``weight_only``.
        symmetric: Whether ``weight_only`` blocks are centred on zero, or carry a zero point each.
        split_outliers: Of an ``int8_dynamic`` second feed-forward layer: whether its outlier channels stay FP32.
        method: How the integers of ``weight_only`` are found; all but ``nearest`` need calibration.
    """

    scheme: Scheme = "fp32"
    bits: int = 32
    group_size: int = 0
    symmetric: bool = True
    split_outliers: bool = False
    method: Method = "nearest"

    @property
    def storage(self) -> Storage:
        """The type of the bytes on disk."""
        if self.scheme == "weight_only":
            return "int4" if self.bits == 4 else "int8"
        return "int8" if self.scheme == "int8_dynamic" else self.scheme


FP32 = Precision()
FP16 = Precision("fp16", bits=16)
INT8_DYNAMIC = Precision("int8_dynamic", bits=8)


@dataclass(frozen=True)
class Plan:
    """Everything the emitter must know besides the tensors.

    Attributes:
        precision: Module path to precision; a path not named here stays FP32.
        fuse: Module paths whose operators may be replaced by ONNX Runtime's fused ones.
        provider: The execution provider that the graphs are written for.
        cross_int8: Attentions to audio whose keys and values are kept in 8 bits.
        blocks: Module path to the integers that calibration found for it; the emitter writes exactly these.
        hidden_scale: Where smoothing divided the encoder's output: by what, float32 (d_model,).
    """

    precision: Mapping[str, Precision] = field(default_factory=dict)
    fuse: frozenset[str] = frozenset()
    provider: Provider = "cpu"
    cross_int8: frozenset[str] = frozenset()
    blocks: Mapping[str, Blocks] = field(default_factory=dict, compare=False)
    hidden_scale: np.ndarray | None = field(default=None, compare=False)

    @property
    def kv_dtype(self) -> Literal["fp32", "fp16"]:
        """The type of queries, keys, values and their cache; those of the audio may be kept in 8 bits.

        FP32 on CPU, which has no FP16 attention; FP16 on CUDA, unless every attention weight was kept FP32.
        """
        compressed = any("_attn." in path and p.scheme != "fp32" for path, p in self.precision.items())
        return "fp16" if self.provider == "cuda" and compressed else "fp32"

    def of(self, path: str) -> Precision:
        """Return the precision of a module path; a factor has that of its module."""
        return self.precision.get(owner(path), FP32)

    def fuses(self, path: str) -> bool:
        """Say whether fused operators may compute a module, or a factor of it."""
        return owner(path) in self.fuse

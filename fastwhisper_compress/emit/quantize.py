"""Weights to integers, in pure NumPy. The graphs hold exactly these numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Blocks:
    """A weight quantised in blocks along its input dimension, in the layout of ``com.microsoft.MatMulNBits``.

    Shapes: ``values`` uint8 (out, in), one number a byte whatever the bits; ``scale`` float16 (out, in / group), as it
    is stored; ``zero`` uint8 (out, in / group). A weight is ``(values - zero) * scale`` of its block.
    """

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    bits: int
    symmetric: bool

    def without(self, rows: Sequence[int]) -> Blocks:
        """Return the same blocks with the weights of some output channels zero."""
        if not rows:
            return self
        values, chosen = self.values.copy(), list(rows)
        values[chosen] = np.repeat(self.zero[chosen], values.shape[1] // self.zero.shape[1], axis=1)
        return replace(self, values=values)

    def packed(self) -> np.ndarray:
        """Return the bytes as stored: two 4-bit numbers a byte, the first in the low half."""
        return pack4(self.values) if self.bits == 4 else self.values

    def packed_zero(self) -> np.ndarray:
        """Return the zero points as MatMulNBits stores them (4-bit rows padded to whole bytes)."""
        return pack4(self.zero) if self.bits == 4 else self.zero


def stacked(parts: Sequence[Blocks]) -> Blocks:
    """Join the rows of weights that have the same inputs, bits and groups, as packed Q, K and V do."""
    first = parts[0]
    if len(parts) == 1:
        return first
    values, scale, zero = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "scale", "zero")
    )
    return Blocks(values, scale, zero, first.bits, first.symmetric)


def per_channel_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise symmetrically with one scale per output channel.

    Shapes: ``weight`` (out, in) -> int8 (out, in), float32 scale (out,).
    """
    scale = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny * 127) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def blockwise(weight: np.ndarray, bits: int, group_size: int, *, symmetric: bool) -> Blocks:
    """Quantise blocks of ``group_size`` inputs, each with a scale (and a zero point if not ``symmetric``).

    A symmetric block takes its scale from the value of largest magnitude, sign included, mapped to the most negative
    integer, so that all ``2 ** bits`` levels are used (the rule of ONNX Runtime and of ggml's Q4_0). Scales are rounded
    to FP16 before the weights are divided by them, so that the integers suit the scales that are stored.

    Shapes: ``weight`` (out, in), ``in`` a multiple of ``group_size``.
    """
    out, width = weight.shape
    blocks = weight.reshape(out, width // group_size, group_size).astype(np.float32)
    levels = 2**bits
    half = levels // 2
    if symmetric:
        peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)[..., 0]
        scale = (peak / np.float32(-half)).astype(np.float16)
        zero = np.full(scale.shape, half, np.uint8)
    else:
        low = np.minimum(blocks.min(axis=2), 0)
        high = np.maximum(blocks.max(axis=2), 0)
        scale = ((high - low) / np.float32(levels - 1)).astype(np.float16)
        zero = np.clip(np.rint(-low / divisor(scale)), 0, levels - 1).astype(np.uint8)
    values = np.rint(blocks / divisor(scale)[..., None]) + zero[..., None]
    values = np.clip(values, 0, levels - 1).astype(np.uint8).reshape(out, width)
    return Blocks(values, scale, zero, bits, symmetric)


def pack4(values: np.ndarray) -> np.ndarray:
    """Pack numbers below 16 two a byte along the last axis, low half first; an odd end is padded with zero."""
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], 1), np.uint8)], axis=-1)
    low, high = values[..., 0::2], values[..., 1::2]
    return np.asarray(low | (high << 4), dtype=np.uint8)


def divisor(scale: np.ndarray) -> np.ndarray:
    """Return scales as FP32 numbers that divide: one in place of the zero of an all-zero block."""
    return np.where(scale == 0, np.float32(1), scale.astype(np.float32))

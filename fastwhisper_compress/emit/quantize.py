"""Weights to integers, in pure NumPy. The graphs hold exactly these numbers; on CUDA the scales are rounded to FP16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Blocks:
    """A weight quantised in blocks along its input dimension, in the layout of ``com.microsoft.MatMulNBits``.

    Shapes: ``values`` uint8 (out, in), one number a byte whatever the bits; ``scale`` float32 (out, in / group);
    ``zero`` uint8 (out, in / group). A weight is ``(values - zero) * scale`` of its block.
    """

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    bits: int
    symmetric: bool

    def packed(self) -> np.ndarray:
        """Return the bytes as stored: two 4-bit numbers a byte, the first in the low half."""
        return pack4(self.values) if self.bits == 4 else self.values

    def packed_zero(self) -> np.ndarray:
        """Return the zero points as MatMulNBits stores them (4-bit rows padded to whole bytes)."""
        return pack4(self.zero) if self.bits == 4 else self.zero


def per_channel_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise symmetrically with one scale per output channel.

    Shapes: ``weight`` (out, in) -> int8 (out, in), float32 scale (out,).
    """
    scale = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny * 127) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def blockwise(weight: np.ndarray, bits: int, group_size: int, *, symmetric: bool) -> Blocks:
    """Quantise blocks of ``group_size`` inputs, each with a scale (and a zero point if not ``symmetric``).

    A symmetric block takes its scale from the value of largest magnitude, sign included, mapped to the most negative
    integer, so that all ``2 ** bits`` levels are used (the rule of ONNX Runtime and of ggml's Q4_0).

    Shapes: ``weight`` (out, in), ``in`` a multiple of ``group_size``.
    """
    out, width = weight.shape
    blocks = weight.reshape(out, width // group_size, group_size).astype(np.float32)
    levels = 2**bits
    half = levels // 2
    if symmetric:
        peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)[..., 0]
        scale = peak / np.float32(-half)
        zero = np.full(scale.shape, half, np.uint8)
    else:
        low = np.minimum(blocks.min(axis=2), 0)
        high = np.maximum(blocks.max(axis=2), 0)
        scale = (high - low) / np.float32(levels - 1)
        zero = np.clip(np.rint(-low / _nonzero(scale)), 0, levels - 1).astype(np.uint8)
    values = np.rint(blocks / _nonzero(scale)[..., None]) + zero[..., None]
    return Blocks(
        np.clip(values, 0, levels - 1).astype(np.uint8).reshape(out, width),
        scale.astype(np.float32),
        zero,
        bits,
        symmetric,
    )


def pack4(values: np.ndarray) -> np.ndarray:
    """Pack numbers below 16 two a byte along the last axis, low half first; an odd end is padded with zero."""
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], 1), np.uint8)], axis=-1)
    low, high = values[..., 0::2], values[..., 1::2]
    return np.asarray(low | (high << 4), dtype=np.uint8)


def _nonzero(scale: np.ndarray) -> np.ndarray:
    """Replace the zero scale of an all-zero block by one, so that it divides."""
    return np.where(scale == 0, np.float32(1), scale)

"""Scales searched for: the block of integers whose error does least harm, not the one that only spans the weights.

The harm of an error is weighted by the mean square of the input channel that it is multiplied with, as in ggml's
k-quants and in the clipping of AWQ (Lin et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastwhisper_compress.emit.quantize import Blocks, divisor

# Shares of the full range that are tried: a few clipped peaks often cost less than a coarse step for all the others.
_SHARES = np.linspace(0.7, 1.05, 15, dtype=np.float32)
_CHUNK = 1 << 20  # weights searched at a time


def search_blocks(weight: np.ndarray, importance: np.ndarray, bits: int, group_size: int, *, symmetric: bool) -> Blocks:
    """Quantise blocks with the scale, and the zero point if not ``symmetric``, of least weighted error.

    Args:
        weight: float32 (out, in), ``in`` a multiple of ``group_size``.
        importance: float32 (in,), what a squared error in a column costs.
        bits: Per weight.
        group_size: Weights per scale.
        symmetric: Whether zero is the middle of the range.
    """
    out, width = weight.shape
    count = width // group_size
    cost = importance.reshape(count, group_size)
    values = np.empty((out, count, group_size), np.uint8)
    scale, zero = np.empty((out, count), np.float16), np.empty((out, count), np.uint8)
    rows = max(1, _CHUNK // width)
    for start in range(0, out, rows):
        part = slice(start, start + rows)
        blocks = weight[part].reshape(-1, count, group_size)
        scale[part], zero[part] = search_scales(blocks, cost, bits, symmetric=symmetric)
        values[part] = integers(blocks, scale[part][..., None], zero[part][..., None], bits)
    return Blocks(values.reshape(out, width), scale, zero, bits, symmetric)


def search_scales(blocks: np.ndarray, cost: np.ndarray, bits: int, *, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the best scale and zero point of every block.

    Every share of the range gives integers, these give the scale that fits them best (least squares), and that scale,
    rounded as it is stored, gives the integers that are judged.

    Shapes: ``blocks`` float32 (..., group), ``cost`` broadcasts to it -> float16 (...), uint8 (...).
    """
    best = np.full(blocks.shape[:-1], np.inf, np.float32)
    best_scale, best_zero = np.zeros(best.shape, np.float16), np.zeros(best.shape, np.uint8)
    for first, zero in _starts(blocks, bits, symmetric=symmetric):
        centred = _centred(blocks, first, zero, bits)
        weighted = centred * cost
        fit = np.vecdot(weighted, blocks) / np.maximum(np.vecdot(weighted, centred), np.finfo(np.float32).tiny)
        scale = fit.astype(np.float16)
        error = blocks - _centred(blocks, scale, zero, bits) * scale.astype(np.float32)[..., None]
        harm = np.vecdot(error * cost, error)
        better = harm < best
        best[better], best_scale[better], best_zero[better] = harm[better], scale[better], zero[better]
    return best_scale, best_zero


def integers(weight: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: int) -> np.ndarray:
    """Return the integers nearest to weights: uint8, of the shape of ``weight``."""
    found: np.ndarray = np.clip(np.rint(weight / divisor(scale)) + zero, 0, 2**bits - 1).astype(np.uint8)
    return found


def _centred(blocks: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: int) -> np.ndarray:
    """Return the integers less their zero point: float32 (..., group)."""
    low = -zero.astype(np.float32)[..., None]
    centred: np.ndarray = np.clip(np.rint(blocks / divisor(scale)[..., None]), low, low + (2**bits - 1))
    return centred


def _starts(blocks: np.ndarray, bits: int, *, symmetric: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return scales and zero points to start from, one pair a share of the full range."""
    levels = 2**bits
    if symmetric:
        peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        middle = np.full(peak.shape, levels // 2, np.uint8)
        for share in _SHARES:
            yield peak * (share / np.float32(-levels // 2)), middle
        return
    low, high = np.minimum(blocks.min(axis=-1), 0), np.maximum(blocks.max(axis=-1), 0)
    for share in _SHARES:
        scale = (high - low) * (share / np.float32(levels - 1))
        yield scale, np.clip(np.rint(-low * share / divisor(scale)), 0, levels - 1).astype(np.uint8)

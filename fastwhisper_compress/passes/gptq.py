"""GPTQ (Frantar et al. 2022): round column by column, and let the columns to come make up for each error.

The second moment of the inputs says how an error in one column shows at the output, and which change of the others
hides it best. Columns are taken in the blocks that share a scale, the blocks of the strongest inputs first, so that the
layout stays that of the kernel; a block's scales are searched for when its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastwhisper_compress.emit.quantize import Blocks
from fastwhisper_compress.passes.search import integers, search_scales

_FAINTEST = 1e-30  # mean square of an input that is always zero
_ROWS = 4096  # rows rounded at a time: they do not depend on each other


@dataclass(frozen=True)
class Factor:
    """What GPTQ needs of an input, for one group size; the linears of one input share it.

    Shapes: ``order`` int64 (in,), columns in the order in which they are rounded; ``upper`` float32 (in, in), U with
    U^T U the inverse of the damped moment in that order.
    """

    order: np.ndarray
    upper: np.ndarray


def factorise(moment: np.ndarray, group_size: int, damping: float) -> Factor:
    """Prepare the second moment of an input.

    Args:
        moment: float32 (in, in).
        group_size: Columns per scale; they stay together.
        damping: Added to the diagonal, as a share of its mean.
    """
    from scipy.linalg import cholesky, lapack

    diagonal = np.diagonal(moment)
    order = _order(diagonal, group_size)
    damped = moment[np.ix_(order, order)].astype(np.float64)
    # A channel that calibration never saw alive would otherwise leave the matrix singular.
    damped[np.diag_indices_from(damped)] += damping * max(float(diagonal.mean()), _FAINTEST)
    # The Cholesky factor of the matrix turned by 180 degrees, turned back, is an upper R with R R^T = damped: U = 1 / R.
    upper = cholesky(damped[::-1, ::-1], lower=True)[::-1, ::-1]
    return Factor(order, lapack.dtrtri(upper)[0].astype(np.float32))


def gptq_blocks(weight: np.ndarray, factor: Factor, bits: int, group_size: int, *, symmetric: bool) -> Blocks:
    """Quantise a weight, float32 (out, in), with error feedback."""
    out, width = weight.shape
    values = np.empty((out, width), np.uint8)
    scale, zero = (np.empty((out, width // group_size), kind) for kind in (np.float16, np.uint8))
    groups = factor.order[::group_size] // group_size
    for start in range(0, out, _ROWS):
        part = slice(start, start + _ROWS)
        rows = _round(weight[part].T[factor.order], factor.upper, bits, group_size, symmetric=symmetric)
        values[part, factor.order] = rows[0].T
        scale[part, groups], zero[part, groups] = rows[1].T, rows[2].T
    return Blocks(values, scale, zero, bits, symmetric)


def _order(diagonal: np.ndarray, group_size: int) -> np.ndarray:
    """Return columns by falling strength of their block, and within a block by their own."""
    blocks = diagonal.reshape(-1, group_size)
    strongest = np.argsort(-blocks.sum(axis=1), kind="stable")
    within = np.argsort(-blocks, axis=1, kind="stable")
    found: np.ndarray = (strongest[:, None] * group_size + within[strongest]).reshape(-1)
    return found


def _round(
    columns: np.ndarray, upper: np.ndarray, bits: int, group_size: int, *, symmetric: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Round columns in their order.

    Shapes: ``columns`` float32 (in, rows), overwritten -> uint8 (in, rows), float16 (blocks, rows), uint8 (blocks,
    rows).
    """
    width, rows = columns.shape
    values = np.empty((width, rows), np.uint8)
    scales, zeros = (np.empty((width // group_size, rows), kind) for kind in (np.float16, np.uint8))
    pivots = np.diagonal(upper)
    for block, start in enumerate(range(0, width, group_size)):
        end = start + group_size
        part = columns[start:end]
        scale, zero = search_scales(np.ascontiguousarray(part.T), pivots[start:end] ** -2, bits, symmetric=symmetric)
        scales[block], zeros[block] = scale, zero
        step, middle = scale.astype(np.float32), zero.astype(np.float32)
        errors = np.empty_like(part)
        for j in range(group_size):
            column = start + j
            values[column] = integers(part[j], scale, zero, bits)
            errors[j] = (part[j] - (values[column] - middle) * step) / pivots[column]
            part[j + 1 :] -= np.outer(upper[column, column + 1 : end], errors[j])
        columns[end:] -= upper[start:end, end:].T @ errors
    return values, scales, zeros

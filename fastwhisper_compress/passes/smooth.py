"""SmoothQuant (Xiao et al. 2022): hand the outliers of activations over to the weights, which bear them better.

A channel is divided where it is made and multiplied where it is read, so the network computes what it did before. Two
places can make a channel smaller for nothing: a layer norm, whose scale and shift are divided, and the values of an
attention, whose mixture over positions is linear in each channel. The input of the second feed-forward layer comes out
of a GELU, which nothing can be moved through; the last layer norm of the decoder feeds the tied embedding, which the
lookup needs as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastwhisper_compress.checkpoint.factors import bias_name, input_weight, output_weight
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.statistics import Statistics, readers
from fastwhisper_compress.recipe.schema import Smooth

_SMALLEST = 1e-5  # of a peak: a dead channel is not blown up without bound


def smooth(
    checkpoint: Checkpoint, pass_: Smooth, paths: Sequence[str], statistics: Statistics
) -> tuple[Checkpoint, Mapping[str, np.ndarray], str]:
    """Smooth what the modules at ``paths`` give out: layer norms, and the values of attentions.

    Returns:
        The new checkpoint, by what each input was divided, and in words how much smaller the peaks became.
    """
    tensors = {name: tensor.astype(np.float32) for name, tensor in checkpoint.tensors.items()}
    changed: dict[str, np.ndarray] = {}
    divisors: dict[str, np.ndarray] = {}
    before, after = [], []
    all_readers = readers(checkpoint.dims)
    for path in paths:
        is_norm = path.endswith("layer_norm")
        maker, source = (path, path) if is_norm else (f"{path}.v_proj", f"{path}.out_proj")
        columns = [input_weight(tensors, reader) for reader in all_readers[source]]
        peak = statistics.peak(source)
        if any(tensors[name].shape[1] != len(peak) for name in columns):
            raise RecipeError(
                "was pruned, so that its calibration does not fit",
                place=source,
                remedy="smooth before pruning: put the pass first",
            )
        divisor = _divisor(peak, [tensors[name] for name in columns], pass_.alpha)
        divisors[source] = divisor
        for name in (output_weight(tensors, maker), bias_name(maker)):
            value = tensors[name]
            changed[name] = value / divisor.reshape(-1, *[1] * (value.ndim - 1))
        for name in columns:
            changed[name] = tensors[name] * divisor
        tensors |= changed
        before.append(_spread(peak))
        after.append(_spread(peak / divisor))
    note = (
        f"peaks of channels are {np.median(before):.1f} times their median before, {np.median(after):.1f} times after "
        f"(median over {len(before)} inputs)"
    )
    return checkpoint.with_tensors(changed), divisors, note


def _divisor(peak: np.ndarray, weights: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """Return ``peak ** alpha / weight_peak ** (1 - alpha)`` of each channel, float32 (in,)."""
    weight_peak = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
    top, bottom = (np.maximum(value, _SMALLEST * max(float(value.max()), 1e-30)) for value in (peak, weight_peak))
    divisor: np.ndarray = (top**alpha / bottom ** (1 - alpha)).astype(np.float32)
    return divisor


def _spread(peak: np.ndarray) -> float:
    return float(peak.max() / max(float(np.median(peak)), 1e-30))

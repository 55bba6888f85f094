"""The integers of the modules whose rounding is calibrated, found before anything is written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastwhisper_compress.checkpoint.factors import factor_paths
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.precision import Plan, Precision
from fastwhisper_compress.emit.quantize import Blocks
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.gptq import Factor, factorise, gptq_blocks
from fastwhisper_compress.passes.search import search_blocks
from fastwhisper_compress.passes.statistics import Statistics, readers

_DAMPING = 0.01  # of GPTQ: the share that its paper uses
# The tied embedding is looked up as well, where an error of any channel counts alike. With as much damping as moment, the
# logits of tiny.en came closest to FP32's, among shares from 0.01 to 10.
_LOOKUP_DAMPING = 1.0


def calibrated_blocks(
    checkpoint: Checkpoint, plan: Plan, statistics: Statistics, progress: Callable[[int, int], None]
) -> dict[str, Blocks]:
    """Return the integers of every module that the plan gives a calibrated method.

    Args:
        checkpoint: The weights, after all weight passes.
        plan: The precisions.
        statistics: What the inputs of these weights look like.
        progress: Called with modules done and modules in all.

    Raises:
        RecipeError: Inputs of a module were pruned, so that calibration knows nothing of what is left.
    """
    wanted = {path for path, precision in plan.precision.items() if precision.method != "nearest"}
    found: dict[str, Blocks] = {}
    done = 0
    for source, paths in readers(checkpoint.dims).items():
        todo = [path for path in paths if path in wanted]
        if not todo:
            continue
        moment = statistics.moment(source)
        shared: dict[int, Factor] = {}
        for path in todo:
            progress(done, len(wanted))
            done += 1
            precision = plan.of(path)
            weight = checkpoint.weight(path)
            if weight.shape[1] != len(moment):
                raise RecipeError(
                    f"has {weight.shape[1]} inputs after pruning, was calibrated with {len(moment)}",
                    place=path,
                    remedy="give this module the method nearest, or do not prune what feeds it",
                )
            if (factors := checkpoint.factors(path)) is None:
                found[path] = _blocks(path, weight.astype(np.float32), precision, moment, shared)
                continue
            first, second = (factor.astype(np.float32) for factor in factors)
            names = factor_paths(path)
            found[names[0]] = _blocks(names[0], first, precision, moment, shared)
            found[names[1]] = _blocks(names[1], second, precision, first @ moment @ first.T, {})
    progress(len(wanted), len(wanted))
    return found


def _blocks(
    path: str, weight: np.ndarray, precision: Precision, moment: np.ndarray, factors: dict[int, Factor]
) -> Blocks:
    """Find the integers of one module; ``factors`` keeps what modules of the same input share, by group size."""
    bits, group, symmetric = precision.bits, precision.group_size, precision.symmetric
    if precision.method == "search":
        return search_blocks(weight, np.diagonal(moment), bits, group, symmetric=symmetric)
    if group not in factors:
        damping = _LOOKUP_DAMPING if path == "decoder.embed_tokens" else _DAMPING
        factors[group] = factorise(moment, group, damping)
    return gptq_blocks(weight, factors[group], bits, group, symmetric=symmetric)

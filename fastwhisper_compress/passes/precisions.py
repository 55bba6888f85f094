"""Which precision each module gets: what the precision passes of a recipe decide, without any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastwhisper_compress.emit.precision import FP16, INT8_DYNAMIC, Precision, Provider
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.base import BasePass
from fastwhisper_compress.recipe.schema import Fp16, Int8Dynamic, WeightOnly

_METHODS = {"nearest": "rounded to nearest", "search": "scales searched for", "gptq": "rounded by GPTQ"}


def assigned(pass_: BasePass, paths: Sequence[str], provider: Provider) -> tuple[dict[str, Precision], str]:
    """Return the precision of each module that a precision pass acts on, and what came of it in words.

    Raises:
        RecipeError: A setting of the pass has no effect.
    """
    if isinstance(pass_, Int8Dynamic) and pass_.split_outliers and not any(path.endswith(".fc2") for path in paths):
        raise RecipeError(
            "split_outliers has no effect: none of its modules is a second feed-forward layer",
            place="int8_dynamic",
            remedy='add "*.fc2" to its targets, or leave split_outliers out',
        )
    chosen, note = _precision(pass_, provider)
    return dict.fromkeys(paths, chosen), note


def _precision(pass_: BasePass, provider: Provider) -> tuple[Precision, str]:
    if isinstance(pass_, Fp16):
        on_cpu = "stored in FP16, expanded once at load and computed in FP32: the CPU provider has no FP16 MatMul"
        return FP16, on_cpu if provider == "cpu" else "stored and computed in FP16"
    if isinstance(pass_, Int8Dynamic):
        apart = "; outlier channels of the feed-forward layers in FP32" if pass_.split_outliers else ""
        return (
            replace(INT8_DYNAMIC, split_outliers=pass_.split_outliers),
            f"INT8 weights, a scale per output channel; INT8 activations, a scale per tensor at run time{apart}",
        )
    if isinstance(pass_, WeightOnly):
        zero = "symmetric" if pass_.symmetric else "with zero points"
        activations = "INT8 activations, a scale per block" if provider == "cpu" else "FP16 activations"
        note = (
            f"INT{pass_.bits} weights, {_METHODS[pass_.method]}, a scale per {pass_.group_size}, {zero}; {activations}"
        )
        return Precision("weight_only", pass_.bits, pass_.group_size, pass_.symmetric, method=pass_.method), note
    raise TypeError(f"no precision in {type(pass_).__name__}")

"""What can be streamed from disk layer by layer, and in pieces of which size."""

from __future__ import annotations

from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.errors import RecipeError

LOGITS_BAND_BYTES = 16 << 20  # of the embedding in FP32; about a layer of a base model
_SCHEMES = ("fp32", "fp16")  # whose kernels multiply with the weights as they lie in the file


def check_streamable(plan: Plan) -> None:
    """Refuse a plan whose weights cannot be read from the file while they are used.

    Raises:
        RecipeError: Its provider is not the CPU, or a kernel repacks its weights: it would keep the packed copy in
            memory, or make it anew for every token.
    """
    if plan.provider != "cpu":
        raise RecipeError(
            f"layers are streamed into a CPU's memory, the artifact is for {plan.provider}",
            place="offload: layers",
            remedy="use offload: phase, or provider: cpu",
        )
    for path, precision in plan.precision.items():
        if precision.scheme not in _SCHEMES:
            raise RecipeError(
                f"offload: layers cannot stream {precision.scheme}: its kernel repacks the weights before it multiplies",
                place=path,
                remedy="use offload: phase, or keep the module in fp32 or fp16",
            )

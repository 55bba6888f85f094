"""Whisper's pre-norm residual blocks as ONNX nodes (Radford et al. 2022).

Every operator has two spellings, chosen by the plan for each module: ONNX Runtime's fused one, or standard ones (on a CPU
layer norms have only the latter). The
residual stream and the layer norms stay FP32 in every precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.graph import FLOAT, MS
from fastwhisper_compress.emit.linear import bias, linear

LAYER_NORM_EPS = 1e-5


@dataclass(frozen=True)
class Stream:
    """The residual stream between two blocks.

    Attributes:
        x: The residual as summed so far, float32 (batch, length, d_model).
        branch: The last block's output, not yet added: the next layer norm adds it in the same pass.
        branch_bias: The module whose bias the branch still lacks, None if it lacks none.
    """

    x: str
    branch: str | None = None
    branch_bias: str | None = None


def normalise(e: Emitter, stream: Stream, path: str) -> tuple[str, str]:
    """Add the pending branch, then write a layer norm.

    Returns:
        The residual after the addition and its normalised value, both float32 (batch, length, d_model).
    """
    g = e.graph
    gamma, beta = g.tensor(f"{path}.weight", e.weight(path)), bias(e, path)
    out, x = f"{path}.out", stream.x
    skip = stream.branch is not None and e.adds_in_norm(path)
    kernel = "SkipLayerNormalization" if skip else "LayerNormalization"
    e.record(path, "layer_norm", kernel, path, gamma, stored=8 * e.weight(path).size)
    if stream.branch and skip:
        inputs = [g.cast(stream.branch, FLOAT), x, gamma, beta]
        inputs += [bias(e, stream.branch_bias)] if stream.branch_bias else []
        outputs = [out, "", "", f"{path}.sum"]
        g.node("SkipLayerNormalization", inputs, outputs, path, domain=MS, epsilon=LAYER_NORM_EPS)
        g.fusions["skip_layer_norm"] += 1
        return f"{path}.sum", out
    if stream.branch:
        x = g.node("Add", [x, g.cast(stream.branch, FLOAT)], f"{path}.sum", f"{path}.add")
    g.node("LayerNormalization", [x, gamma, beta], out, path, epsilon=LAYER_NORM_EPS, axis=-1)
    return x, out


def project_out(e: Emitter, x: str, path: str, then: str, *, without: Sequence[int] = ()) -> tuple[str, str | None]:
    """Write the last linear of a block.

    Args:
        e: The emitter.
        x: Its input.
        path: The linear's module.
        then: The layer norm that will add this branch: where one operator does both, it also adds the linear's bias.
        without: Inputs to leave out.

    Returns:
        The branch, and the module whose bias it still lacks.
    """
    left = e.adds_in_norm(then) and e.bias(path) is not None
    return linear(e, x, path, with_bias=not left, without_inputs=without), path if left else None

"""The feed-forward half of a block, and the few of its channels that 8-bit activations cannot hold."""

from __future__ import annotations

import numpy as np

from fastwhisper_compress.emit.blocks import Stream, normalise, project_out
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.linear import linear

_FAR = 1.3  # times the 99th percentile
_MOST = 32  # channels, of 1536 and more


def mlp(e: Emitter, stream: Stream, path: str, then: str) -> Stream:
    """Write ``fc2(gelu(fc1(norm(x))))`` of the layer at ``path``; ``then`` is the layer norm that follows."""
    g = e.graph
    x, normed = normalise(e, stream, f"{path}.final_layer_norm")
    outliers = outlier_channels(e, path) if e.plan.of(f"{path}.fc2").split_outliers else []
    hidden = linear(e, normed, f"{path}.fc1", without_outputs=outliers)
    # Not BiasGelu: it takes no less time, and on a CPU a buffer as large as its output, the largest value of the graph.
    active = g.node("Gelu", [hidden], f"{path}.fc1.gelu", f"{path}.fc1.gelu", dtype=g.type_of(hidden))
    branch, bias_left = project_out(e, active, f"{path}.fc2", then, without=outliers)
    if outliers:
        apart, stored = _apart(e, normed, path, outliers)
        e.add_bytes(f"{path}.fc2", stored)
        parts = [branch, apart]
        branch = g.node("Add", parts, f"{path}.fc2.whole", f"{path}.fc2.join")
        g.fusions["outlier_channels"] += len(outliers)
    return Stream(x, branch, bias_left)


def outlier_channels(e: Emitter, path: str) -> list[int]:
    """Find the hidden channels whose values can be far beyond those of the others, from the weights alone.

    A layer norm gives ``gamma * y + beta`` where y has mean 0 and length sqrt(d). So, by Cauchy and Schwarz, channel j
    is at most ``|w_j * gamma - mean| sqrt(d) + w_j . beta + b_j``. In the encoders of tiny.en and base the few channels
    with the largest bounds are those that hold values of 80 to 550 where the others stay below 20.
    """
    weight, norm = e.weight(f"{path}.fc1"), f"{path}.final_layer_norm"
    scaled = weight * e.weight(norm)
    length = np.linalg.norm(scaled - scaled.mean(axis=1, keepdims=True), axis=1)
    bound = length * np.sqrt(weight.shape[1]) + weight @ (beta if (beta := e.bias(norm)) is not None else 0)
    if (shift := e.bias(f"{path}.fc1")) is not None:
        bound = bound + shift
    far = np.flatnonzero(bound > _FAR * np.percentile(bound, 99))
    return [int(channel) for channel in np.sort(far[np.argsort(-bound[far])][:_MOST])]


def _apart(e: Emitter, normed: str, path: str, channels: list[int]) -> tuple[str, int]:
    """Write what the outlier channels add to the output, in FP32 (Dettmers et al. 2022, LLM.int8(), split the same way).

    Returns:
        Their part, float32 (batch, length, d_model) as ``normed``, and the bytes that it takes on disk.
    """
    g, name = e.graph, f"{path}.outliers"
    first, second = e.weight(f"{path}.fc1")[channels], e.weight(f"{path}.fc2")[:, channels]
    shift = e.bias(f"{path}.fc1")
    rows = g.tensor(f"{name}.rows", np.ascontiguousarray(first.T))
    x = g.node("MatMul", [normed, rows], f"{name}.product", f"{name}.fc1")
    if shift is not None:
        x = g.node("Add", [x, g.tensor(f"{name}.bias", shift[channels])], f"{name}.shifted", f"{name}.bias_add")
    x = g.node("Gelu", [x], f"{name}.gelu", f"{name}.gelu")
    columns = g.tensor(f"{name}.columns", np.ascontiguousarray(second.T))
    out = g.node("MatMul", [x, columns], f"{name}.out", f"{name}.fc2")
    return out, first.nbytes + second.nbytes + (0 if shift is None else 4 * len(channels))

"""Remove the weights of least magnitude: one by one, or as whole attention heads and FFN channels.

Single weights become zeros, which no kernel here skips: the report says so. Heads and channels leave the tensors, so
the graph is smaller and faster (Michel et al. 2019, Are Sixteen Heads Really Better than One?).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.passes.shrink import channels_left, heads_left
from fastwhisper_compress.recipe.schema import Prune


def prune(checkpoint: Checkpoint, pass_: Prune, paths: Sequence[str]) -> tuple[Checkpoint, str]:
    """Prune the modules at ``paths``.

    Returns:
        The new checkpoint, and in words how much was really removed.
    """
    changed: dict[str, np.ndarray] = {}
    aligned = checkpoint.decoding.alignment_heads
    removed = total = 0
    for path in paths:
        if pass_.granularity == "unstructured":
            new, gone, of = _weights(checkpoint, path, pass_.amount)
        elif pass_.granularity == "heads":
            kept, of = _heads(checkpoint, path, pass_.amount)
            new, gone = _without_heads(checkpoint, path, kept), of - len(kept)
            aligned = _renumbered(aligned, path, kept)
        else:
            new, gone, of = _channels(checkpoint, path, pass_.amount)
        changed.update(new)
        removed, total = removed + gone, total + of
    what = {"unstructured": "weights set to zero (no byte saved)", "heads": "heads removed", "ffn": "channels removed"}
    note = f"{removed} of {total} {what[pass_.granularity]}, {removed / total:.1%}"
    smaller = checkpoint.with_tensors(changed)
    return replace(smaller, decoding=replace(smaller.decoding, alignment_heads=aligned)), note


_Pruned = tuple[dict[str, np.ndarray], int, int]  # new tensors, removed, of


def _weights(checkpoint: Checkpoint, path: str, amount: float) -> _Pruned:
    name = f"{path}.weight"
    weight = checkpoint.tensors[name]
    count = int(weight.size * amount)
    pruned = weight.copy().reshape(-1)
    if count:
        pruned[np.argpartition(np.abs(pruned), count - 1)[:count]] = 0
    return {name: pruned.reshape(weight.shape)}, count, weight.size


def _heads(checkpoint: Checkpoint, path: str, amount: float) -> tuple[np.ndarray, int]:
    """Return which heads stay, in ascending order and at least one, and of how many."""
    tensors, dim = checkpoint.tensors, checkpoint.dims.head_dim(path)
    heads = tensors[f"{path}.q_proj.weight"].shape[0] // dim
    size = _l1(tensors[f"{path}.out_proj.weight"], axis=0)
    size = sum((_l1(tensors[f"{row}.weight"], axis=1) for row in _qkv(path)), size)
    return _strongest(size.reshape(heads, dim).sum(axis=1), heads_left(heads, amount)), heads


def _without_heads(checkpoint: Checkpoint, path: str, kept: np.ndarray) -> dict[str, np.ndarray]:
    """Remove the other heads from q, k, v (rows) and out (columns)."""
    dim = checkpoint.dims.head_dim(path)
    return _keep(checkpoint, _qkv(path), f"{path}.out_proj", (kept[:, None] * dim + np.arange(dim)).reshape(-1))


def _qkv(path: str) -> list[str]:
    return [f"{path}.{letter}_proj" for letter in "qkv"]


def _renumbered(pairs: tuple[tuple[int, int], ...], path: str, kept: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return (decoder layer, head) pairs under the numbers that the attention at ``path`` now has for its heads."""
    number = {int(old): new for new, old in enumerate(kept)}
    here = [(layer, head, path == f"decoder.layers.{layer}.encoder_attn") for layer, head in pairs]
    return tuple((layer, number[head] if own else head) for layer, head, own in here if not own or head in number)


def _channels(checkpoint: Checkpoint, fc1: str, amount: float) -> _Pruned:
    """Remove hidden channels of an FFN: rows of fc1, columns of fc2."""
    fc2 = f"{fc1.removesuffix('fc1')}fc2"
    width = checkpoint.tensors[f"{fc1}.weight"].shape[0]
    stay = channels_left(width, amount)
    size = _l1(checkpoint.tensors[f"{fc1}.weight"], axis=1) + _l1(checkpoint.tensors[f"{fc2}.weight"], axis=0)
    return _keep(checkpoint, [fc1], fc2, _strongest(size, stay)), width - stay, width


def _keep(checkpoint: Checkpoint, rows: Sequence[str], columns: str, places: np.ndarray) -> dict[str, np.ndarray]:
    tensors = checkpoint.tensors
    changed = {f"{columns}.weight": tensors[f"{columns}.weight"][:, places]}
    for row in rows:
        for name in (f"{row}.weight", f"{row}.bias"):
            if name in tensors:
                changed[name] = tensors[name][places]
    return changed


def _l1(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.abs(weight.astype(np.float32)).sum(axis=axis))


def _strongest(size: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the ``count`` largest, in their original order."""
    return np.sort(np.argsort(-size, kind="stable")[:count])

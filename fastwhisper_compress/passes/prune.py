"""Remove the weights of least magnitude: one by one, or as whole attention heads and FFN channels.

Single weights become zeros, which no kernel here skips: the report says so. Heads and channels leave the tensors, so
the graph is smaller and faster (Michel et al. 2019, Are Sixteen Heads Really Better than One?).
"""

from __future__ import annotations

from collections.abc import Sequence

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
    removed = total = 0
    for path in paths:
        if pass_.granularity == "unstructured":
            new, gone, of = _weights(checkpoint, path, pass_.amount)
        elif pass_.granularity == "heads":
            new, gone, of = _heads(checkpoint, path, pass_.amount)
        else:
            new, gone, of = _channels(checkpoint, path, pass_.amount)
        changed.update(new)
        removed, total = removed + gone, total + of
    what = {"unstructured": "weights set to zero (no byte saved)", "heads": "heads removed", "ffn": "channels removed"}
    note = f"{removed} of {total} {what[pass_.granularity]}, {removed / total:.1%}"
    return checkpoint.with_tensors(changed), note


_Pruned = tuple[dict[str, np.ndarray], int, int]  # new tensors, removed, of


def _weights(checkpoint: Checkpoint, path: str, amount: float) -> _Pruned:
    name = f"{path}.weight"
    weight = checkpoint.tensors[name]
    count = int(weight.size * amount)
    pruned = weight.copy().reshape(-1)
    if count:
        pruned[np.argpartition(np.abs(pruned), count - 1)[:count]] = 0
    return {name: pruned.reshape(weight.shape)}, count, weight.size


def _heads(checkpoint: Checkpoint, path: str, amount: float) -> _Pruned:
    """Remove heads from q, k, v (rows) and out (columns); at least one stays."""
    tensors, dim = checkpoint.tensors, checkpoint.dims.head_dim(path)
    rows = [f"{path}.{letter}_proj" for letter in "qkv"]
    heads = tensors[f"{path}.q_proj.weight"].shape[0] // dim
    size = sum(_l1(tensors[f"{row}.weight"], axis=1) for row in rows) + _l1(tensors[f"{path}.out_proj.weight"], axis=0)
    left = heads_left(heads, amount)
    kept = _strongest(np.asarray(size).reshape(heads, dim).sum(axis=1), left)
    places = (kept[:, None] * dim + np.arange(dim)).reshape(-1)
    return _keep(checkpoint, rows, f"{path}.out_proj", places), heads - left, heads


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

"""Remove what matters least: single weights, two of every four, or whole attention heads and FFN channels.

Single weights become zeros, which no kernel here skips: the report says so. Heads and channels leave the tensors, so
the graph is smaller and faster (Michel et al. 2019, Are Sixteen Heads Really Better than One?).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastwhisper_compress.checkpoint.factors import bias_name, input_weight, output_weight
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.importance import Importance
from fastwhisper_compress.passes.shrink import channels_left, heads_left
from fastwhisper_compress.recipe.shapes import Prune

_TOLD = {
    "unstructured": "weights set to zero (no byte saved)",
    "2:4": "weights set to zero, two of every four (no byte saved, and no time: no kernel here skips them)",
    "heads": "heads removed",
    "ffn": "channels removed",
}


def prune(
    checkpoint: Checkpoint, pass_: Prune, paths: Sequence[str], importance: Importance | None = None
) -> tuple[Checkpoint, str]:
    """Prune the modules at ``paths``.

    Args:
        checkpoint: The weights.
        pass_: What to remove, and how much.
        paths: Linears, attentions, or first feed-forward layers, by the pass.
        importance: The scores by which heads and channels are judged; None takes the absolute size of their weights.

    Returns:
        The new checkpoint, and in words how much was really removed.

    Raises:
        RecipeError: The scores are of another number of heads or channels, or single weights of a product are to go.
    """
    changed: dict[str, np.ndarray] = {}
    aligned = checkpoint.decoding.alignment_heads
    removed = total = 0
    for path in paths:
        if pass_.granularity in ("unstructured", "2:4"):
            new, gone, of = _weights(checkpoint, path, pass_)
        elif pass_.granularity == "heads":
            kept, of = _heads(checkpoint, path, pass_.amount, importance)
            new, gone = _without_heads(checkpoint, path, kept), of - len(kept)
            aligned = _renumbered(aligned, path, kept)
        else:
            new, gone, of = _channels(checkpoint, path, pass_.amount, importance)
        changed.update(new)
        removed, total = removed + gone, total + of
    judged = "" if importance is None else ", judged on calibration speech"
    note = f"{removed} of {total} {_TOLD[pass_.granularity]}, {removed / total:.1%}{judged}"
    smaller = checkpoint.with_tensors(changed)
    return replace(smaller, decoding=replace(smaller.decoding, alignment_heads=aligned)), note


_Pruned = tuple[dict[str, np.ndarray], int, int]  # new tensors, removed, of


def _weights(checkpoint: Checkpoint, path: str, pass_: Prune) -> _Pruned:
    if checkpoint.factors(path) is not None:
        raise RecipeError(
            "is the product of two factors, whose single weights are not its own",
            place=path,
            remedy="leave out what low_rank factorises, or prune heads and channels",
        )
    name = f"{path}.weight"
    weight = checkpoint.tensors[name]
    pruned = np.array(weight, order="C")
    if pass_.granularity == "2:4":
        # Neighbours along the inputs, as NVIDIA's sparse tensor cores have it; inputs that make no whole four stay.
        for row in pruned:
            fours = row[: row.size // 4 * 4].reshape(-1, 4)
            np.put_along_axis(fours, np.argsort(np.abs(fours), axis=1, kind="stable")[:, :2], 0, axis=1)
        count = len(weight) * (weight.shape[1] // 4) * 2
    elif count := int(weight.size * pass_.amount):
        flat = pruned.reshape(-1)
        flat[np.argpartition(np.abs(flat), count - 1)[:count]] = 0
    return {name: pruned}, count, weight.size


def _heads(checkpoint: Checkpoint, path: str, amount: float, importance: Importance | None) -> tuple[np.ndarray, int]:
    """Return which heads stay, in ascending order and at least one, and of how many."""
    dim = checkpoint.dims.head_dim(path)
    out = checkpoint.weight(f"{path}.out_proj")
    heads = out.shape[1] // dim
    if importance is None:
        size = sum((_l1(checkpoint.weight(row), axis=1) for row in _qkv(path)), _l1(out, axis=0))
        score = size.reshape(heads, dim).sum(axis=1)
    else:
        score = _scores(importance, path, heads)
    return _strongest(score, heads_left(heads, amount)), heads


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


def _channels(checkpoint: Checkpoint, fc1: str, amount: float, importance: Importance | None) -> _Pruned:
    """Remove hidden channels of an FFN: rows of fc1, columns of fc2."""
    fc2 = f"{fc1.removesuffix('fc1')}fc2"
    first = checkpoint.weight(fc1)
    width = len(first)
    stay = channels_left(width, amount)
    if importance is None:
        score = _l1(first, axis=1) + _l1(checkpoint.weight(fc2), axis=0)
    else:
        score = _scores(importance, fc1, width)
    return _keep(checkpoint, [fc1], fc2, _strongest(score, stay)), width - stay, width


def _keep(checkpoint: Checkpoint, rows: Sequence[str], columns: str, places: np.ndarray) -> dict[str, np.ndarray]:
    tensors = checkpoint.tensors
    narrowed = input_weight(tensors, columns)
    changed = {narrowed: tensors[narrowed][:, places]}
    for row in rows:
        for name in (output_weight(tensors, row), bias_name(row)):
            if name in tensors:
                changed[name] = tensors[name][places]
    return changed


def _scores(importance: Importance, path: str, count: int) -> np.ndarray:
    found = importance.of(path)
    if len(found) != count:
        raise RecipeError(
            f"has {count} heads or channels after pruning, importance was measured of {len(found)}",
            place=path,
            remedy="prune a module once by taylor, and before other passes that make it narrower",
        )
    return found


def _l1(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.abs(weight.astype(np.float32)).sum(axis=axis))


def _strongest(size: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the ``count`` largest, in their original order."""
    return np.sort(np.argsort(-size, kind="stable")[:count])

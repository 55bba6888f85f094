"""Keep some layers and drop the others: distil-whisper's start for a shallow student (Gandhi et al. 2023)."""

from __future__ import annotations

from dataclasses import replace

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.recipe.layers import Kept, renumbered


def drop_layers(checkpoint: Checkpoint, kept: Kept) -> tuple[Checkpoint, str]:
    """Drop the layers that are not to be kept, and number the others from 0 on.

    The heads whose attention follows time are known by their layers, so they are renumbered too; those of dropped layers
    are no longer known.

    Returns:
        The new checkpoint, whose dimensions are those of a shallower Whisper, and in words what is left.
    """
    before = checkpoint.dims
    dims = replace(before, **{f"{side}_layers": len(layers) for side, layers in kept.items()})
    tensors = {new: tensor for name, tensor in checkpoint.tensors.items() if (new := renumbered(name, kept))}
    heads = checkpoint.decoding.alignment_heads
    if "decoder" in kept:
        number = {old: new for new, old in enumerate(kept["decoder"])}
        heads = tuple((number[layer], head) for layer, head in heads if layer in number)
    decoding = replace(checkpoint.decoding, alignment_heads=heads)
    left = [
        f"{len(layers)} of {before.depths[side]} {side} layers kept ({', '.join(map(str, layers))})"
        for side, layers in kept.items()
    ]
    return replace(checkpoint, dims=dims, tensors=tensors, decoding=decoding), "; ".join(left)

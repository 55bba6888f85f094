"""A compressed checkpoint as a folder that Hugging Face transformers loads, as far as its Whisper can hold it.

Its feed-forward layers may have any one width a side and its stacks any depth; its attentions always have all heads, and
its linears are whole. Factors are therefore multiplied out, and removed heads are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastwhisper_compress.checkpoint.dims import Dims, tensor_shapes
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.checkpoint.safetensors_file import write_safetensors
from fastwhisper_compress.emit.configs import config_files
from fastwhisper_compress.errors import UsageError

WEIGHTS = "model.safetensors"


def held_dims(dims: Dims, shapes: Mapping[str, tuple[int, ...]]) -> Dims:
    """Return the dimensions of an unpruned Whisper of these shapes.

    Args:
        dims: Those before pruning.
        shapes: Of every tensor, all linears whole.

    Raises:
        UsageError: There is none: heads were removed, or layers of one side differ in width.
    """
    for side in ("encoder", "decoder"):
        layers = range(getattr(dims, f"{side}_layers"))
        widths = {shapes[f"{side}.layers.{i}.fc1.weight"][0] for i in layers}
        if len(widths) > 1:
            raise UsageError(
                f"its layers have {', '.join(map(str, sorted(widths)))} feed-forward channels, and transformers' Whisper one "
                "number for all",
                place=side,
                remedy=f"prune the channels of all {side} layers by the same amount, or use the artifact of `run`",
            )
        dims = replace(dims, **{f"{side}_ffn": widths.pop()})
    for name, shape in tensor_shapes(dims).items():
        if shapes[name] != shape:
            raise UsageError(
                "has lost attention heads, which transformers' Whisper cannot do without",
                place=name.rpartition(".")[0].rpartition(".")[0],
                remedy="prune channels only (granularity: ffn), or use the artifact of `run`, which holds both",
            )
    return dims


def write_folder(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Write weights, configs and tokenizer into an empty folder.

    Returns:
        What transformers will load: every linear whole, the dimensions those of an unpruned Whisper.

    Raises:
        UsageError: transformers' Whisper cannot hold it.
    """
    whole = checkpoint.multiplied_out()
    whole = replace(whole, dims=held_dims(whole.dims, {name: tensor.shape for name, tensor in whole.tensors.items()}))
    kind = np.result_type(*whole.tensors.values())
    tensors = {f"model.{name}": tensor.astype(kind, copy=False) for name, tensor in whole.tensors.items()}
    write_safetensors(folder / WEIGHTS, tensors, {"format": "pt"})
    for name, content in config_files(whole).items():
        (folder / name).write_bytes(content)
    return whole

"""The parts of an artifact that is streamed layer by layer, as its manifest names them.

The manifest may come from anywhere: every name, offset and length is checked before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import UnsafeInputError

_ITEM_BYTES = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class StreamedWeight:
    """One tensor in the weight file.

    Attributes:
        name: Of the initializer.
        dtype: ``float32`` or ``float16``.
        shape: Its dimensions.
        offset: Where it begins, in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Part:
    """One part of a graph.

    Attributes:
        graph: Its ``.onnx`` file.
        weights: What it reads from the weight file.
    """

    graph: Path
    weights: tuple[StreamedWeight, ...]


@dataclass(frozen=True)
class Layers:
    """An artifact in parts.

    Attributes:
        weights: The weight file.
        encoder: Parts of the encoder, in the order in which they run.
        decoder: Likewise.
    """

    weights: Path
    encoder: tuple[Part, ...]
    decoder: tuple[Part, ...]


def read_layers(raw: Mapping[str, Any], inside: Callable[[str], Path]) -> Layers:
    """Read the ``layers`` of a manifest.

    Args:
        raw: What the manifest says.
        inside: Returns the file of a name, refusing one outside the artifact.

    Raises:
        ArtifactError: A file is missing.
        UnsafeInputError: A file lies outside the artifact, or a tensor outside the weight file.
        KeyError, TypeError, ValueError: The manifest holds something else.
    """
    weights = inside(str(raw["weights"]))
    size = weights.stat().st_size
    if not size:
        raise UnsafeInputError("there are no weights in it", place=str(weights), remedy="run the recipe again")
    encoder, decoder = (
        tuple(
            Part(inside(str(part["graph"])), tuple(_weight(one, weights, size) for one in part["weights"]))
            for part in raw[name]
        )
        for name in ("encoder", "decoder")
    )
    if not encoder or not decoder:
        raise ValueError("a graph has no parts")
    return Layers(weights, encoder, decoder)


def _weight(raw: Mapping[str, Any], weights: Path, size: int) -> StreamedWeight:
    name, dtype, shape = str(raw["name"]), raw["dtype"], tuple(raw["shape"])
    offset, length = raw["offset"], raw["length"]
    if dtype not in _ITEM_BYTES:
        raise ValueError(f"{dtype!r} is none of {', '.join(_ITEM_BYTES)}")
    if any(type(number) is not int or number < 0 for number in (*shape, offset, length)):
        raise ValueError(f"{name!r} has a size or place that is no whole number")
    item = _ITEM_BYTES[dtype]
    if length != item * math.prod(shape) or offset % item or offset + length > size:
        raise UnsafeInputError(
            f"{name!r} does not lie in the weight file of {size:,} bytes as its manifest says",
            place=str(weights),
            remedy="do not use this artifact, or run the recipe again",
        )
    return StreamedWeight(name, dtype, shape, offset)

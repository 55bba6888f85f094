"""Checks that stand between a file of unknown origin and the rest of the program.

A reader describes what a file claims to hold as `StoredTensor` values; only when every name, shape and type fits the
dimensions is anything read.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastwhisper_compress.checkpoint.dims import Dims, tensor_shapes
from fastwhisper_compress.errors import ModelNotFoundError, UnsafeInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

EMBEDDING, PROJECTION = "decoder.embed_tokens.weight", "proj_out.weight"  # tied, when both are stored
FRESH_COPY = "the file is damaged or was tampered with; get a fresh copy from a source you trust"
_ONE_MODEL = "check that configuration and weights are of one Whisper model"
_FLOATS = ("float16", "bfloat16", "float32")
_CHUNK = 1 << 22  # values tested for NaN at a time
JSON_LARGEST_BYTES = 6_000_000  # a Whisper tokenizer.json has 2 to 4 MB
# Parsed, a byte of an empty list becomes 50, of anything else no more than 15. A tokenizer.json has 52,000: its merges.
JSON_MOST_CONTAINERS = 200_000


@dataclass(frozen=True)
class StoredTensor:
    """What a file says about one tensor, and how to read it once that has been checked.

    Attributes:
        shape: Claimed shape.
        dtype: Claimed type, in numpy's words or ``bfloat16``.
        place: File (and its own name for the tensor) for errors.
        read: Returns the array, float16 or float32; called only after the claims fit.
    """

    shape: tuple[int, ...]
    dtype: str
    place: str
    read: Callable[[], np.ndarray]


def load_tensors(stored: Mapping[str, StoredTensor], dims: Dims, place: str) -> dict[str, np.ndarray]:
    """Reads all tensors of a checkpoint after checking what the file claims about them.

    Two spellings of the same model are levelled: an output projection must be the token embedding and is dropped, and
    so is a bias of a key projection (Whisper has none; some formats store zeros).

    Args:
        stored: Canonical name to claim.
        dims: Dimensions that fix names and shapes.
        place: Checkpoint path for errors.

    Returns:
        Canonical name to read-only array, in graph order.

    Raises:
        UnsafeInputError: A tensor is missing, unexpected, of a wrong shape or type, or holds NaN or infinity.
    """
    shapes = tensor_shapes(dims)
    claims = dict(stored)
    projection = claims.pop(PROJECTION, None)
    if projection is not None:
        claims.setdefault(EMBEDDING, projection)
        _check_claim(PROJECTION, projection, shapes[EMBEDDING])
    key_biases = {name.removesuffix("weight") + "bias" for name in shapes if name.endswith(".k_proj.weight")}
    biases = {name: claims.pop(name) for name in stored if name in key_biases}
    for what, names in (("missing", shapes.keys() - claims.keys()), ("unexpected", claims.keys() - shapes.keys())):
        if names:
            listed = ", ".join(printable(name) for name in sorted(names)[:3]) + (
                f" and {len(names) - 3} more" if len(names) > 3 else ""
            )
            raise UnsafeInputError(f"{what} tensors: {listed}", place=place, remedy=_ONE_MODEL)
    for name, shape in shapes.items():
        _check_claim(name, claims[name], shape)
    for name, bias in biases.items():
        _check_claim(name, bias, (dims.d_model,))
        if np.any(bias.read()):
            raise UnsafeInputError(
                f"{name} is not zero", place=bias.place, remedy="give a Whisper model: its keys have no bias"
            )
    tensors = {}
    for name in shapes:
        tensor = claims[name].read()
        check_finite(name, tensor, claims[name].place)
        tensor.flags.writeable = False
        tensors[name] = tensor
    if projection is not None and not np.array_equal(projection.read(), tensors[EMBEDDING]):
        raise UnsafeInputError(
            f"{PROJECTION} differs from {EMBEDDING}",
            place=projection.place,
            remedy="give a model whose logits are tied to the token embedding, as in every Whisper",
        )
    return tensors


def _check_claim(name: str, claim: StoredTensor, shape: tuple[int, ...]) -> None:
    if claim.shape != shape:
        raise UnsafeInputError(
            f"{name} has shape {describe_shape(claim.shape)}, the configuration asks for {list(shape)}",
            place=claim.place,
            remedy=_ONE_MODEL,
        )
    if claim.dtype not in _FLOATS:
        raise UnsafeInputError(
            f"{name} is stored as {claim.dtype}",
            place=claim.place,
            remedy="give the uncompressed model: float16, bfloat16 or float32 weights",
        )


def check_finite(name: str, tensor: np.ndarray, place: str) -> None:
    """Refuses NaN and infinity, which would silently turn every transcript into noise."""
    flat = tensor.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        if not np.isfinite(flat[start : start + _CHUNK]).all():
            raise UnsafeInputError(f"{name} holds NaN or infinite values", place=place, remedy=FRESH_COPY)


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Float32 values of bfloat16 bit patterns (uint16): the same bits, shifted up."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object of bounded size.

    Raises:
        UnsafeInputError: It is not one.
    """
    return parse_json(read_bytes(path), str(path))


def parse_json(data: bytes, place: str) -> dict[str, Any]:
    """Parses a JSON object.

    Raises:
        UnsafeInputError: It is not one, or it would take far more memory than such a file can need.
    """
    if data.count(b"[") + data.count(b"{") > JSON_MOST_CONTAINERS:
        raise UnsafeInputError(
            f"holds more than {JSON_MOST_CONTAINERS:,} lists and objects", place=place, remedy=FRESH_COPY
        )
    try:
        value = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UnsafeInputError(f"not valid JSON ({type(error).__name__})", place=place, remedy=FRESH_COPY) from error
    if not isinstance(value, dict):
        raise UnsafeInputError("not a JSON object", place=place, remedy=FRESH_COPY)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands twice, readers choose different values."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def read_bytes(path: Path) -> bytes:
    """Reads a small file whole.

    Raises:
        ModelNotFoundError: There is none, or it cannot be read.
        UnsafeInputError: It is far larger than such a file can be.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device has no end
            raise UnsafeInputError("is not a plain file", place=str(path), remedy=FRESH_COPY)
        if status.st_size > JSON_LARGEST_BYTES:
            raise UnsafeInputError(f"larger than {JSON_LARGEST_BYTES} bytes", place=str(path), remedy=FRESH_COPY)
        return path.read_bytes()
    except OSError as error:
        raise not_readable(path, error) from error


def not_readable(path: Path, error: OSError) -> ModelNotFoundError:
    """The error for a file of a checkpoint that is missing or cannot be opened."""
    return ModelNotFoundError(
        f"cannot be read: {error.strerror or type(error).__name__}",
        place=str(path),
        remedy="check the path and its rights",
    )


def printable(name: str) -> str:
    """A name out of a file as one short line without control characters, fit for a terminal."""
    text = ascii(name)[1:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."


def describe_shape(shape: tuple[int, ...]) -> str:
    """A shape as text of bounded length."""
    text = str([f"2^{n.bit_length()}" if n.bit_length() > 64 else n for n in shape[:8]])
    return text if len(shape) <= 8 else f"{text} and {len(shape) - 8} more"

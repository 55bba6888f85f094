"""Reads and writes safetensors files: a JSON header that says where each array lies, then the arrays.

Those of strangers are read by our own code, mapped into memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastwhisper_compress.checkpoint.safe_load import (
    FRESH_COPY,
    StoredTensor,
    not_readable,
    parse_json,
    printable,
    widen_bfloat16,
)
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST_RANK = 8
_HEADER_LARGEST_BYTES = 2_000_000  # that of large-v3 has 0.2 MB
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Writes arrays, each row by row.

    The library writes memory as it lies: columns that were taken out of a matrix, and stayed columns in memory, would be
    read as rows.

    Raises:
        OSError: The file cannot be written.
    """
    from safetensors.numpy import save_file

    save_file({name: np.asarray(one, order="C") for name, one in tensors.items()}, path, metadata)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Describes every tensor of a file; its bytes are touched only when one is read.

    Raises:
        UnsafeInputError: The header is damaged, or it contradicts the file or itself.
        ModelNotFoundError: The file cannot be read.
    """
    place = str(path)

    def damaged(message: str) -> UnsafeInputError:
        return UnsafeInputError(message, place=place, remedy=FRESH_COPY)

    try:
        data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    except OSError as error:
        raise not_readable(path, error) from error
    except ValueError as error:  # numpy cannot map an empty file
        raise damaged("the file is empty") from error
    n_header = int.from_bytes(data[:8].tobytes(), "little")
    if n_header > _HEADER_LARGEST_BYTES:
        raise damaged(f"claims a header of {n_header} bytes, more than {_HEADER_LARGEST_BYTES:,}")
    if data.size < 8 or n_header > data.size - 8:
        raise damaged(f"claims a header of {n_header} bytes in a file of {data.size}")
    header = parse_json(data[8 : 8 + n_header].tobytes(), place)
    header.pop("__metadata__", None)
    body = data[8 + n_header :]
    entries = {name: _entry(entry) for name, entry in header.items()}
    end = 0
    for name, found in sorted(entries.items(), key=lambda item: item[1][2:] if item[1] else ()):
        if found is None:
            raise damaged(f"the entry of {printable(name)} is malformed")
        dtype, shape, start, stop = found
        # Arrays lie end to end, so none can overlap another or point outside.
        if start != end or stop - start != math.prod(shape) * _ITEM_BYTES.get(dtype, 1) or stop > body.size:
            raise damaged(
                f"{printable(name)} claims bytes {start} to {stop} of {body.size}, which its shape contradicts"
            )
        end = stop
    if end != body.size:
        raise damaged(f"{body.size - end} bytes belong to no tensor")
    return {name: _stored(body, found, f"{place}: {printable(name)}") for name, found in entries.items() if found}


_Entry = tuple[str, tuple[int, ...], int, int]


def _entry(entry: Any) -> _Entry | None:
    """(type, shape, start, stop) of a header entry, or None when it is malformed."""
    if not isinstance(entry, dict):
        return None
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list):
        return None
    numbers = [*shape, *offsets]
    if len(shape) > _LARGEST_RANK or len(offsets) != 2 or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        return None
    return dtype, tuple(shape), offsets[0], offsets[1]


def _stored(body: np.ndarray, entry: _Entry, place: str) -> StoredTensor:
    dtype, shape, start, stop = entry

    def read() -> np.ndarray:
        raw = body[start:stop]
        if dtype == "BF16":
            return widen_bfloat16(raw.view(np.uint16).reshape(shape))
        return raw.view(_DTYPES[dtype]).reshape(shape)

    return StoredTensor(shape, _DTYPES.get(dtype, dtype), place, read)

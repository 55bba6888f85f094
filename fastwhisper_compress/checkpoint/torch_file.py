"""Reads torch archives (``.pt``, ``.bin``) without torch: containers, and tensors mapped into memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastwhisper_compress.checkpoint.safe_load import (
    FRESH_COPY,
    PROJECTION,
    StoredTensor,
    printable,
    widen_bfloat16,
)
from fastwhisper_compress.checkpoint.torch_archive import Record, read_records
from fastwhisper_compress.checkpoint.torch_pickle import RefusedPickleError, View, read_pickle
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from pathlib import Path

_PICKLE, _BYTE_ORDER = "data.pkl", "byteorder"
_PICKLE_LARGEST_BYTES = 4_000_000  # names and shapes of a large Whisper take 0.2 MB
_DTYPES = {"HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32"}
_DTYPES |= {"DoubleStorage": "float64", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16"}
_DTYPES |= {"CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool"}


def load_torch(path: Path) -> Any:
    """Read what ``torch.save`` was given, with a :class:`View` for each tensor; of the weights nothing is read.

    Raises:
        UnsafeInputError: The file is damaged, or its pickle asks for anything but tensors and containers.
        ModelNotFoundError: The file cannot be read.
    """
    records = read_records(path)
    pickled = _content(path, records, _PICKLE, _PICKLE_LARGEST_BYTES)
    if _BYTE_ORDER in records and _content(path, records, _BYTE_ORDER, 16) != b"little":
        raise UnsafeInputError("its numbers are not little-endian", place=str(path), remedy=FRESH_COPY)
    try:
        return read_pickle(pickled)
    except RefusedPickleError as error:
        raise UnsafeInputError(str(error), place=str(path), remedy=FRESH_COPY) from error


def stored_tensors(state: Any, path: Path) -> dict[str, StoredTensor]:
    """Describes the tensors of a state dict, after checking that they are plain and lie inside the file.

    Raises:
        UnsafeInputError: An entry is not a plain tensor, or together they claim more than the file has.
    """
    if not isinstance(state, Mapping):
        raise UnsafeInputError("the state dict is not a dictionary", place=str(path), remedy=FRESH_COPY)
    records = read_records(path)
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    stored = {}
    claimed = 0
    for name, view in state.items():
        if not isinstance(name, str) or not isinstance(view, View):
            raise UnsafeInputError(
                f"{printable(str(name))} is not a named tensor of plain numbers",
                place=str(path),
                remedy="give a Whisper state dict of tensors",
            )
        stored[name] = _stored(view, records, data, f"{path}: {printable(name)}")
        if name != PROJECTION:  # the one tensor that shares its bytes with another
            claimed += math.prod(view.shape) * _item_bytes(stored[name].dtype)
    # A view may repeat a few stored bytes without end.
    if claimed > path.stat().st_size:
        raise UnsafeInputError("the tensors claim more bytes than the file has", place=str(path), remedy=FRESH_COPY)
    return stored


def _stored(view: View, records: Mapping[str, Record], data: np.ndarray, place: str) -> StoredTensor:
    storage = view.storage
    dtype, record = _DTYPES.get(storage.kind), records.get(f"data/{storage.key}")
    if dtype is None:
        raise UnsafeInputError(f"is stored as {printable(storage.kind)}", place=place, remedy=FRESH_COPY)
    if record is None or record.size != storage.numel * _item_bytes(dtype):
        raise UnsafeInputError(
            f"claims {storage.numel} numbers of {dtype} in a record of {record.size if record else 0} bytes",
            place=place,
            remedy=FRESH_COPY,
        )

    def read() -> np.ndarray:
        numbers = data[record.offset :][: record.size].view(np.uint16 if dtype == "bfloat16" else dtype)
        strides = [stride * numbers.itemsize for stride in view.strides]
        array = np.lib.stride_tricks.as_strided(numbers[view.start :], view.shape, strides, writeable=False)
        return widen_bfloat16(array) if dtype == "bfloat16" else array

    return StoredTensor(view.shape, dtype, place, read)


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _content(path: Path, records: Mapping[str, Record], name: str, largest: int) -> bytes:
    record = records.get(name)
    if record is None or record.size > largest:
        raise UnsafeInputError(
            f"the archive is not one torch writes: {name} " + ("is missing" if record is None else "is too large"),
            place=str(path),
            remedy=FRESH_COPY,
        )
    with path.open("rb") as file:
        file.seek(record.offset)
        return file.read(record.size)

"""Reads CTranslate2's ``model.bin`` version 6: a flat list of named arrays, mapped into memory.

Every length is checked against what is left of the file before anything is taken from it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.checkpoint.safe_load import FRESH_COPY, not_readable
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 6
_SPEC = "WhisperSpec"
_DTYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16", 5: "bfloat16"}
_ITEM_BYTES = {"float32": 4, "int8": 1, "int16": 2, "int32": 4, "float16": 2, "bfloat16": 2}
_LARGEST_RANK = 8
_LARGEST_COUNT = 100_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Variable:
    """A named value of the file; options of the architecture are those of rank 0.

    Attributes:
        shape: Shape, checked against the bytes.
        dtype: numpy's name of the type, or ``bfloat16``.
        data: The bytes, a view of the mapped file.
    """

    shape: tuple[int, ...]
    dtype: str
    data: np.ndarray


def read_variables(path: Path) -> dict[str, Variable]:
    """All variables of a ``model.bin`` by name, aliases followed.

    Raises:
        UnsafeInputError: The file is truncated, contradicts itself or holds another model or version.
        ModelNotFoundError: The file cannot be read.
    """
    reader = _Reader(path)
    version = reader.integer("<I", "the version")
    if version != _VERSION:
        raise UnsafeInputError(
            f"format version {version}, only {_VERSION} can be read",
            place=reader.place,
            remedy="convert the model again with a current CTranslate2 (--quantization float16)",
        )
    spec = reader.string("the model type")
    if spec != _SPEC:
        raise UnsafeInputError(f"holds a {spec}, expected {_SPEC}", place=reader.place, remedy="give a Whisper model")
    reader.integer("<I", "the revision")
    count = reader.integer("<I", "the number of variables")
    if count > _LARGEST_COUNT:
        raise reader.damaged(f"claims {count} variables")
    variables: dict[str, Variable] = {}
    for i in range(count):
        name = reader.string(f"the name of variable {i}")
        if name in variables:
            raise reader.damaged(f"variable {name} is stored twice")
        variables[name] = _read_variable(reader, name)
    n_aliases = reader.integer("<I", "the number of aliases")
    if n_aliases > _LARGEST_COUNT:
        raise reader.damaged(f"claims {n_aliases} aliases")
    for i in range(n_aliases):
        alias, name = reader.string(f"alias {i}"), reader.string(f"the target of alias {i}")
        if alias in variables or name not in variables:
            raise reader.damaged(f"alias {alias} for {name} contradicts the variables")
        variables[alias] = variables[name]
    if reader.offset != reader.data.size:
        raise reader.damaged(f"{reader.data.size - reader.offset} bytes follow the end")
    return variables


class _Reader:
    """A cursor over the mapped file that never passes its end."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        try:
            mapped = np.memmap(path, dtype=np.uint8, mode="r")
        except OSError as error:
            raise not_readable(path, error) from error
        except ValueError as error:  # numpy cannot map an empty file
            raise self.damaged("the file is empty") from error
        self.data = mapped.view(np.ndarray)
        self.offset = 0

    def damaged(self, message: str) -> UnsafeInputError:
        return UnsafeInputError(message, place=self.place, remedy=FRESH_COPY)

    def take(self, n: int, what: str) -> np.ndarray:
        """The next n bytes as a view."""
        if n > self.data.size - self.offset:
            raise self.damaged(f"ends inside {what}: {n} bytes claimed, {self.data.size - self.offset} left")
        view = self.data[self.offset : self.offset + n]
        self.offset += n
        return view

    def integer(self, format_: str, what: str) -> int:
        value: int = struct.unpack(format_, self.take(struct.calcsize(format_), what).tobytes())[0]
        return value

    def string(self, what: str) -> str:
        """A u16 length that counts a closing NUL, then the bytes."""
        raw = self.take(self.integer("<H", what), what).tobytes()
        try:
            text = raw.removesuffix(b"\0").decode("ascii")
        except UnicodeDecodeError as error:
            raise self.damaged(f"{what} is not text") from error
        if not text or not text.isprintable():
            raise self.damaged(f"{what} is not text")
        if len(text) > _LONGEST_NAME:
            raise self.damaged(f"{what} has {len(text)} characters")
        return text


def _read_variable(reader: _Reader, name: str) -> Variable:
    rank = reader.integer("<B", f"the rank of {name}")
    if rank > _LARGEST_RANK:
        raise reader.damaged(f"variable {name} claims rank {rank}")
    shape = tuple(reader.integer("<I", f"the shape of {name}") for _ in range(rank))
    code = reader.integer("<B", f"the type of {name}")
    if code not in _DTYPES:
        raise reader.damaged(f"variable {name} has unknown type {code}")
    n_bytes = reader.integer("<I", f"the size of {name}")
    # The stored size is 32 bits wide and may have wrapped: only an equal product is believed.
    if n_bytes != math.prod(shape) * _ITEM_BYTES[_DTYPES[code]]:
        raise reader.damaged(f"variable {name} claims {n_bytes} bytes for shape {list(shape)} of {_DTYPES[code]}")
    return Variable(shape, _DTYPES[code], reader.take(n_bytes, name))

"""Reads torch archives (``.pt``, ``.bin``) with nothing but tensors and containers allowed inside."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.checkpoint.safe_load import (
    FRESH_COPY,
    PROJECTION,
    StoredTensor,
    not_readable,
    printable,
    widen_bfloat16,
)
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

_PICKLE_LARGEST_BYTES = 16_000_000  # names and shapes of a large Whisper take 0.2 MB


def load_torch(path: Path) -> Any:
    """``torch.load`` of a tensor archive, mapped into memory, that builds tensors and containers and nothing else.

    Raises:
        UnsafeInputError: The file is damaged, or its pickle asks for anything else.
        ModelNotFoundError: The file cannot be read.
    """
    import pickle

    import torch

    try:
        check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnsafeInputError:
        raise
    except pickle.UnpicklingError as error:
        raise UnsafeInputError(
            "the pickle inside asks for more than tensors (it may run code) or is damaged, and was not run",
            place=str(path),
            remedy=FRESH_COPY,
        ) from error
    except OSError as error:
        raise not_readable(path, error) from error
    except Exception as error:  # a damaged archive fails in torch with whatever its parser trips over
        raise UnsafeInputError(
            f"cannot be read as a torch file ({type(error).__name__})", place=str(path), remedy=FRESH_COPY
        ) from error


def stored_tensors(state: Any, path: Path) -> dict[str, StoredTensor]:
    """Describes the tensors of a state dict, after checking that they are plain and lie inside the file.

    Raises:
        UnsafeInputError: An entry is not a plain tensor, or together they claim more than the file has.
    """
    import torch

    if not isinstance(state, Mapping):
        raise UnsafeInputError("the state dict is not a dictionary", place=str(path), remedy=FRESH_COPY)
    stored = {}
    claimed = 0
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise UnsafeInputError(
                f"{printable(str(name))} is not a named tensor",
                place=str(path),
                remedy="give a Whisper state dict of tensors",
            )
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_neg():
            raise UnsafeInputError(f"{printable(name)} is not a plain tensor", place=str(path), remedy=FRESH_COPY)
        if name != PROJECTION:  # the one tensor that shares its bytes with another
            claimed += tensor.numel() * tensor.element_size()
        stored[name] = _stored(tensor, f"{path}: {printable(name)}")
    # A view may repeat a few stored bytes without end.
    if claimed > path.stat().st_size:
        raise UnsafeInputError("the tensors claim more bytes than the file has", place=str(path), remedy=FRESH_COPY)
    return stored


def _stored(tensor: torch.Tensor, place: str) -> StoredTensor:
    import torch

    def read() -> np.ndarray:
        plain = tensor.detach()
        if plain.dtype == torch.bfloat16:
            return widen_bfloat16(plain.view(torch.uint16).numpy())
        array: np.ndarray = plain.numpy()
        return array

    return StoredTensor(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), place, read)


def check_archive(path: Path) -> None:
    """Refuses what torch (1.6 or later) does not write, such as a bare pickle or records that unpack to more.

    Its archives store every record uncompressed, which is also what lets them be mapped.
    """
    if not zipfile.is_zipfile(path):
        raise UnsafeInputError("not a torch archive, or a truncated one", place=str(path), remedy=FRESH_COPY)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    pickles = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if packed or pickles > _PICKLE_LARGEST_BYTES or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise UnsafeInputError("the archive is not one torch writes", place=str(path), remedy=FRESH_COPY)

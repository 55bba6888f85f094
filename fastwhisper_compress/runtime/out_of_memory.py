"""Tell that memory has run out, whoever says so and however: most libraries say it only in words."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

from fastwhisper_compress.errors import FastWhisperError, OutOfMemoryError

_REMEDY = "use a smaller model, a recipe that compresses more, or fewer clips at a time"

# What the libraries write, each read in its source or seen under a limit of the address space.
_SAYINGS = (
    r"bad_alloc",  # C++, in the words of ONNX Runtime and OpenVINO
    r"bad allocation",  # the same on Windows
    r"Failed to allocate",  # ONNX Runtime's arena, OpenVINO
    r"is smaller than requested bytes of",  # ONNX Runtime's arena under a limit of its own
    r"out of memory",  # CUDA as ONNX Runtime and torch put it
    r"_ALLOC(?:ATION)?_FAILED",  # cuBLAS, cuDNN
    r"[Cc]annot allocate memory",  # the system: ENOMEM
    r"failed to map segment from shared object$",  # a library that was to be loaded; the loader names any other reason
    r"can't allocate memory",  # torch on a CPU
    r"not enough memory",  # the same on Windows
)
_REQUESTED = re.compile(
    r"(?:buffer of size|requested bytes of|[Tt]ried to allocate)\s+(?P<number>\d+(?:\.\d+)?)(?:\s*(?P<unit>[KMGT]iB))?"
)
_UNITS = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def translated(error: BaseException, doing: str = "computing", place: str | None = None) -> OutOfMemoryError | None:
    """Return the error as ours if it means that memory has run out, else None.

    Args:
        error: Whatever was raised.
        doing: What was going on, to follow "out of memory while".
        place: What was being loaded or computed.
    """
    if isinstance(error, OutOfMemoryError):
        return error
    if isinstance(error, FastWhisperError) or not _means_memory(error):
        return None
    requested = _requested_bytes(error)
    asked = "" if requested is None else f": {requested / 1e6:,.1f} MB more were refused"
    return OutOfMemoryError(
        f"out of memory while {doing}{asked}", place=place, remedy=_REMEDY, requested_bytes=requested
    )


@contextmanager
def recognised(doing: str, place: str | None = None) -> Iterator[None]:
    """Raise every error that means it as an ``OutOfMemoryError``; for the arguments see ``translated``."""
    try:
        yield
    except Exception as error:
        found = translated(error, doing, place)
        if found is None or found is error:
            raise
        raise found from error


def _means_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return (
        type(error).__name__ == "OutOfMemoryError" or re.search("|".join(_SAYINGS), str(error)) is not None
    )  # torch's class


def _requested_bytes(error: BaseException) -> int | None:
    """Return how much could not be had, where the error tells."""
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    if isinstance(error, MemoryError) and shape is not None and dtype is not None:  # numpy's own class
        return int(math.prod(shape) * dtype.itemsize)
    found = _REQUESTED.search(str(error))
    return None if found is None else round(float(found["number"]) * _UNITS[found["unit"]])

"""Every way in which a library says that memory has run out is one error of ours, and nothing else is."""

from __future__ import annotations

import errno
import mmap

import numpy as np
import pytest

from fastwhisper_compress.errors import AudioError, OutOfMemoryError
from fastwhisper_compress.runtime.out_of_memory import recognised, translated

SAID = [
    (MemoryError(), None),
    (RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"), None),
    (RuntimeError("bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 123456"), 123456),
    (RuntimeError("Available memory of 10 is smaller than requested bytes of 2048"), 2048),
    (RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);"), None),
    (RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"), None),
    (RuntimeError("CUDNN failure 2: CUDNN_STATUS_ALLOC_FAILED"), None),
    (RuntimeError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of"), 3 << 29),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12"), 4096),
    (RuntimeError("Exception from src/inference/src/cpp/core.cpp:\nFailed to allocate 17 bytes of memory"), None),
    (type("OutOfMemoryError", (RuntimeError,), {})("in torch's words"), None),
    (ImportError("_library.so: failed to map segment from shared object"), None),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), None),
]


@pytest.mark.parametrize(("error", "requested"), SAID, ids=[str(error)[:40] for error, _ in SAID])
def test_it_is_recognised_and_what_was_asked_for_is_told(error, requested):
    found = translated(error, "loading", "encoder.onnx")
    assert isinstance(found, OutOfMemoryError)
    assert (found.requested_bytes, found.place, found.exit_code) == (requested, "encoder.onnx", 6)
    assert "out of memory while loading" in found.message
    assert found.remedy


def test_what_numpy_and_the_system_really_raise():
    with pytest.raises(OutOfMemoryError) as caught, recognised("computing"):
        np.empty((1 << 20, 1 << 35), np.float32)
    assert caught.value.requested_bytes == 1 << 57
    assert isinstance(caught.value.__cause__, MemoryError)
    with pytest.raises(OutOfMemoryError), recognised("computing"):
        mmap.mmap(-1, 1 << 55)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug"),
        ImportError("_library.so: failed to map segment from shared object: Operation not permitted"),
        ValueError("shape mismatch"),
        OSError(errno.ENOENT, "no such file"),
        KeyError("memory"),
    ],
    ids=repr,
)
def test_another_error_stays_what_it_is(error):
    assert translated(error) is None
    with pytest.raises(type(error)) as caught, recognised("computing"):
        raise error
    assert caught.value is error


def test_ours_is_not_wrapped_again_and_no_other_of_ours_is_taken_for_it():
    ours = OutOfMemoryError("none left", requested_bytes=7)
    assert translated(ours) is ours
    assert translated(AudioError("its header says out of memory")) is None

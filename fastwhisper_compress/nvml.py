"""NVIDIA GPUs as their driver describes them, asked without any package."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any

_MEMORY_CLOCK = 2  # NVML_CLOCK_MEM
_MHZ = 1_000_000


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: The product name, such as ``Tesla T4``.
        compute_capability: Such as ``7.5``; None where the driver cannot say.
        bandwidth_bytes_per_s: Bus width times twice the memory clock; None where the driver cannot say.
    """

    name: str
    total_bytes: int
    free_bytes: int
    compute_capability: str | None
    bandwidth_bytes_per_s: float | None


def open_nvml() -> Any | None:
    """The driver's library, ready to be asked; None where there is none."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return None
    return None if nvml.nvmlInit_v2() else nvml


def read_gpus(nvml: Any | None) -> list[Gpu]:
    """Return the GPUs that CUDA would see, in CUDA's order where ``CUDA_VISIBLE_DEVICES`` sets one."""
    if nvml is None:
        return []
    found = (_read(nvml, handle) for handle in visible(nvml))
    return [gpu for gpu in found if gpu is not None]


def visible(nvml: Any) -> list[ctypes.c_void_p]:
    """Handles of the GPUs that are not hidden. As in CUDA, what follows a wrong entry is hidden too."""
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    entries = [str(index) for index in range(count.value)] if chosen is None else chosen.split(",")
    handles = []
    for entry in (entry.strip() for entry in entries):
        handle = ctypes.c_void_p()
        if entry.startswith(("GPU-", "MIG-")):
            failed = nvml.nvmlDeviceGetHandleByUUID(entry.encode(), ctypes.byref(handle))
        elif entry.isdigit():
            failed = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(entry)), ctypes.byref(handle))
        else:
            break
        if failed:
            break
        handles.append(handle)
    return handles


def _read(nvml: Any, handle: ctypes.c_void_p) -> Gpu | None:
    memory = (ctypes.c_uint64 * 3)()  # nvmlMemory_t: total, free, used
    name = ctypes.create_string_buffer(96)
    if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) or nvml.nvmlDeviceGetName(handle, name, len(name)):
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    failed = nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    return Gpu(
        name=name.value.decode(errors="replace"),
        total_bytes=int(memory[0]),
        free_bytes=int(memory[1]),
        compute_capability=None if failed else f"{major.value}.{minor.value}",
        bandwidth_bytes_per_s=_bandwidth(nvml, handle),
    )


def _bandwidth(nvml: Any, handle: ctypes.c_void_p) -> float | None:
    """Bytes per second: every kind of GPU memory moves two bits a wire and cycle of the clock that NVML tells."""
    width_bits, clock_mhz = ctypes.c_uint(), ctypes.c_uint()
    try:
        failed = nvml.nvmlDeviceGetMemoryBusWidth(handle, ctypes.byref(width_bits)) or (
            nvml.nvmlDeviceGetMaxClockInfo(handle, ctypes.c_uint(_MEMORY_CLOCK), ctypes.byref(clock_mhz))
        )
    except AttributeError:  # drivers before 510 do not tell the width
        return None
    return None if failed or not width_bits.value else width_bits.value / 8 * 2 * clock_mhz.value * _MHZ or None

"""Memory of the calling process, read from the system without any package that would itself take memory."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.nvml import open_nvml, visible

_STATUS = Path("/proc/self/status")
_STATM = Path("/proc/self/statm")
CLEAR_REFS = Path("/proc/self/clear_refs")
_KIB = 1024
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4 * _KIB
_FIELD = re.compile(rb"^(VmRSS|VmHWM|RssAnon|RssFile):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Resident:
    """What a process holds in memory at one moment.

    Attributes:
        rss_bytes: All of it.
        peak_bytes: The most since the process began or the kernel's mark was last reset.
        anon_bytes: What it wrote itself; None where the system does not tell.
        file_bytes: Pages of mapped files, such as weights and libraries; None where the system does not tell.
    """

    rss_bytes: int
    peak_bytes: int
    anon_bytes: int | None
    file_bytes: int | None


def resident_bytes() -> int:
    """Return the resident set size now."""
    if resident := _status_bytes("VmRSS"):
        return resident
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Return the peak resident set size of this process.

    On Linux this is VmHWM and not ``ru_maxrss``: the latter survives ``exec``, so a child started by a large parent
    (one with torch loaded, say) would report the parent's peak as its own.
    """
    if peak := _status_bytes("VmHWM"):
        return peak
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else _KIB)


def _status_bytes(field: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith(f"{field}:")), 0)


class ProcessMemory:
    """Memory of this process for one that asks often: the files of the kernel stay open, where there are any.

    Attributes:
        resets: Whether the mark behind ``peak_bytes`` can be set back, so that it tells the peak since then.
    """

    def __init__(self, clear_refs: Path = CLEAR_REFS) -> None:
        self._status = _open(_STATUS, os.O_RDONLY)
        self._statm = _open(_STATM, os.O_RDONLY)
        self._clear_refs = _open(clear_refs, os.O_WRONLY)
        self.resets = self._status is not None and self._try_reset()

    def rss_bytes(self) -> int:
        """Return the resident set size now, the fastest way."""
        if self._statm is None:
            return resident_bytes()
        return int(os.pread(self._statm, 100, 0).split()[1]) * _PAGE

    def look(self) -> Resident:
        """Return all of it."""
        if self._status is None:
            return Resident(resident_bytes(), peak_resident_bytes(), None, None)
        kib = {name: int(value) * _KIB for name, value in _FIELD.findall(os.pread(self._status, 8192, 0))}
        return Resident(kib[b"VmRSS"], kib[b"VmHWM"], kib[b"RssAnon"], kib[b"RssFile"])

    def reset_peak(self) -> None:
        """Set the mark back to what is resident now."""
        if self._clear_refs is not None:
            os.pwrite(self._clear_refs, b"5", 0)

    def close(self) -> None:
        """Close the files."""
        for file in (self._status, self._statm, self._clear_refs):
            if file is not None:
                os.close(file)

    def _try_reset(self) -> bool:
        try:
            self.reset_peak()
        except OSError:
            return False
        return self._clear_refs is not None


def _open(path: Path, flags: int) -> int | None:
    try:
        return os.open(path, flags)
    except OSError:
        return None


class VideoMemory:
    """Peak of the first visible GPU's memory in use above what was in use at the start.

    Read from the driver (NVML) for the whole device, because inside containers the driver often cannot attribute memory
    to processes; so nothing else should start on that GPU meanwhile. The CUDA context counts: it is memory a user needs.
    ONNX Runtime's arena does not shrink, so looking after each utterance sees the peak.
    """

    def __init__(self) -> None:
        nvml = open_nvml()
        devices = [] if nvml is None else visible(nvml)
        self._nvml: Any | None = nvml if devices else None
        self._device = devices[0] if devices else ctypes.c_void_p()
        self._start = self._used()
        self._peak = self._start

    def sample(self) -> int | None:
        """Look once; return what is in use above the start, or None where there is no driver to ask."""
        if self._nvml is None:
            return None
        used = self._used()
        self._peak = max(self._peak, used)
        return max(0, used - self._start)

    @property
    def peak_bytes(self) -> int | None:
        """Peak so far, or None where there is no NVIDIA driver to ask."""
        return None if self._nvml is None else self._peak - self._start

    def _used(self) -> int:
        if self._nvml is None:
            return 0
        memory = (ctypes.c_uint64 * 3)()  # nvmlMemory_t: total, free, used
        if self._nvml.nvmlDeviceGetMemoryInfo(self._device, ctypes.byref(memory)):
            return 0
        return int(memory[2])

"""The processor of this host: its name, its vector extensions, and the operations per second that follow from them."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from fastwhisper_compress.memory.device import Isa
from fastwhisper_compress.memory.limits import read

_ROOT = Path("/")
_MHZ = 1_000_000

# What Linux calls them where it is not our word.
_FLAGS = {"avx512f": "avx512", "asimd": "neon", "asimddp": "dotprod"}

# INT8 and BF16 operations per FP32 operation, of the best extension for it. Without dot products it takes two
# multiplications and an addition (vpmaddubsw, vpmaddwd, vpaddd) where FP32 takes four multiply-adds.
_INT8 = {"amx_int8": 32, "i8mm": 8, "avx512_vnni": 4, "avx_vnni": 4, "dotprod": 4, "avx512": 2, "avx2": 2}
_BF16 = {"amx_bf16": 16}


@dataclass(frozen=True)
class Processor:
    """What is known of it; None where the system does not say."""

    name: str
    family: str
    isa: list[Isa] | None
    clock_hz: float | None

    @property
    def flops_per_cycle(self) -> int | None:
        """FP32 operations of one core in one cycle: vector units x lanes x 2 for multiply-add."""
        if self.isa is None:
            return None
        if "avx512" in self.isa:
            # AMD's Zen 4 has the instructions, but runs them on its 256-bit units.
            return 32 if self.family == "AuthenticAMD 25" else 64
        if "avx2" in self.isa:
            return 32
        return 16 if "neon" in self.isa else None

    def int8_factor(self) -> tuple[Isa, int] | None:
        """The extension for products of 8-bit numbers, and its rate beside FP32."""
        return self._best(_INT8)

    def bf16_factor(self) -> tuple[Isa, int] | None:
        """The extension for products of BF16 numbers, and its rate beside FP32."""
        return self._best(_BF16)

    def _best(self, factors: dict[str, int]) -> tuple[Isa, int] | None:
        return max(
            ((name, factors[name]) for name in self.isa or () if name in factors), key=lambda x: x[1], default=None
        )


def read_processor(root: Path = _ROOT) -> Processor:
    """Read ``/proc/cpuinfo``, or say what Python knows where there is none."""
    lines = [line.partition(":") for line in (read(root / "proc/cpuinfo") or "").splitlines()]
    first: dict[str, str] = {}
    for key, _, value in lines:
        first.setdefault(key.strip(), value.strip())
    flags = first.get("flags") or first.get("Features")
    return Processor(
        name=first.get("model name") or platform.processor() or platform.machine() or "unknown processor",
        family=f"{first.get('vendor_id', '')} {first.get('cpu family', '')}".strip(),
        isa=None if flags is None else _extensions(flags),
        clock_hz=_clock(root, [value.strip() for key, _, value in lines if key.strip() == "cpu MHz"]),
    )


def _extensions(flags: str) -> list[Isa]:
    has = {_FLAGS.get(flag, flag) for flag in flags.split()}
    return [name for name in get_args(Isa) if name in has]


def _clock(root: Path, current_mhz: list[str]) -> float | None:
    """The largest clock or, as in virtual machines, the one that is stated: what Linux knows of these."""
    policy = root / "sys/devices/system/cpu/cpu0/cpufreq"
    if (text := read(policy / "cpuinfo_max_freq")) and text.isdigit():
        return int(text) * 1000.0
    numbers = [float(text) for text in current_mhz if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)]
    return max(numbers) * _MHZ if numbers else None


def last_cache_bytes(cpus: Iterable[int], root: Path = _ROOT) -> int | None:
    """The size of the last-level caches of some logical processors, None where the system does not say."""
    sizes: dict[str, int] = {}
    for cpu in cpus:
        levels = sorted((root / f"sys/devices/system/cpu/cpu{cpu}/cache").glob("index[0-9]*"))
        if levels and (size := re.fullmatch(r"([0-9]+)([KM])", read(levels[-1] / "size") or "")):
            shared = read(levels[-1] / "shared_cpu_list") or str(cpu)
            sizes[shared] = int(size[1]) * (1024 if size[2] == "K" else 1024**2)
    return sum(sizes.values()) or None

"""The present machine as devices: its processor, and the NVIDIA GPUs that can be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.memory import limits
from fastwhisper_compress.memory.bandwidth import measure_bandwidth
from fastwhisper_compress.memory.device import FIGURES, Device, Kind, Peak
from fastwhisper_compress.memory.hardware import profile_of
from fastwhisper_compress.memory.processor import Processor, last_cache_bytes, read_processor
from fastwhisper_compress.memory.runtime import CUDA_CONTEXT_BYTES
from fastwhisper_compress.nvml import Gpu, open_nvml, read_gpus
from fastwhisper_compress.resources import usable_cpus

_ROOT = Path("/")
_MOST_THREADS = 16
_DRIVER = "read from the driver"


def this_machine() -> list[Device]:
    """The host's processor, then its GPUs."""
    return [host(), *(_gpu(index, gpu) for index, gpu in enumerate(read_gpus(open_nvml())))]


def detect(provider: Kind, *, place: str = "--device") -> Device:
    """The device of the present machine that a provider runs on: the first GPU that can be seen, or the processor.

    Raises:
        BackendError: if a GPU is asked for and there is none.
    """
    if provider == "cpu":
        return host()
    for index, gpu in enumerate(read_gpus(open_nvml())):
        return _gpu(index, gpu)
    raise BackendError(
        "no NVIDIA GPU can be seen on this machine",
        place=place,
        remedy="name the device to plan for, such as t4; or look whether `nvidia-smi` shows one",
    )


def host(root: Path = _ROOT) -> Device:
    """The processor and the memory of this host, within the limits of the container and of the process."""
    processor = read_processor(root)
    total, available = limits.total_bytes(root), limits.available_bytes(root)
    cores = limits.usable_cores(root)
    bandwidth = measure_bandwidth(
        last_cache_bytes(usable_cpus(), root), available, min(_MOST_THREADS, max(1, int(cores)))
    )
    figures: dict[str, float | None] = {"fp16": None}
    told = {
        "memory_bytes": "read from the system: memory, or the least limit on it",
        "reserved_bytes": "measured now: what is in use",
        "bandwidth_bytes_per_s": "measured now by copying, bytes read and written"
        if bandwidth
        else "could not be measured",
        "fp16": "ONNX Runtime's CPU provider has no FP16 arithmetic",
        "isa": "read from /proc/cpuinfo" if processor.isa is not None else "this system does not list its extensions",
    }
    for name in ("fp32", "bf16", "int8"):
        figures[name], told[name] = _rate(name, processor, cores)
    known = {"bandwidth_bytes_per_s": bandwidth, "isa": processor.isa, **figures}
    return Device(
        name="this-cpu",
        title=processor.name[:120],
        aliases=[],
        kind="cpu",
        memory_bytes=total,
        memory_kind=None,
        unified=True,
        reserved_bytes=max(0, total - available),
        bandwidth_bytes_per_s=bandwidth,
        peak=Peak(**figures),
        fast_fp16=False,
        isa=processor.isa,
        available_bytes=available,
        sources={name: text for name, text in told.items() if known.get(name, 0) is not None},
        why={name: text for name, text in told.items() if known.get(name, 0) is None},
    )


def _rate(name: str, processor: Processor, cores: float) -> tuple[float | None, str]:
    """Operations per second, and how they were computed or why not."""
    per_cycle, clock = processor.flops_per_cycle, processor.clock_hz
    if per_cycle is None or clock is None:
        return None, "the processor's clock or extensions are not known"
    formula, factor = f"computed: {cores:g} cores x {clock / 1e9:.2f} GHz x {per_cycle}", 1
    if name != "fp32":
        best = processor.int8_factor() if name == "int8" else processor.bf16_factor()
        if best is None:
            return None, "no instructions for it"
        formula, factor = f"{formula} x {best[1]} ({best[0]})", best[1]
    return cores * clock * per_cycle * factor, formula


def _gpu(index: int, gpu: Gpu) -> Device:
    """A GPU: what the driver says; what it does not say, from the profile of that product."""
    profile = profile_of(gpu.name)
    seen: dict[str, Any] = {
        "memory_bytes": gpu.total_bytes,
        "bandwidth_bytes_per_s": gpu.bandwidth_bytes_per_s,
        "compute_capability": gpu.compute_capability,
    }
    values: dict[str, Any] = {"reserved_bytes": CUDA_CONTEXT_BYTES}
    sources, why = {"reserved_bytes": "assumption: 512 MiB for a CUDA context"}, {}
    for name in (*FIGURES, "compute_capability"):
        if name in values:
            continue
        if seen.get(name) is not None:
            values[name], sources[name] = seen[name], _DRIVER
        elif profile is not None and profile.figures[name] is not None:
            values[name], sources[name] = (
                profile.figures[name],
                f"profile {profile.name}: {profile.sources[name]}"[:400],
            )
        else:
            values[name] = None
            why[name] = (
                f"the driver does not say, and there is no profile of {gpu.name!r}"
                if profile is None
                else profile.why[name]
            )
    return Device(
        name=f"this-gpu-{index}",
        title=gpu.name[:120] or "NVIDIA GPU",
        aliases=[],
        kind="cuda",
        memory_kind=profile.memory_kind if profile else None,
        unified=profile.unified if profile else False,
        peak=Peak(**{name: values.pop(name) for name in Peak.model_fields}),
        fast_fp16=None if values["compute_capability"] is None else _has_fast_fp16(values["compute_capability"]),
        available_bytes=max(0, gpu.free_bytes - CUDA_CONTEXT_BYTES),
        sources=sources,
        why=why,
        **values,
    )


def _has_fast_fp16(compute_capability: str) -> bool:
    """Whether FP16 runs faster than FP32 (CUDA C programming guide, throughput of arithmetic instructions)."""
    return compute_capability in ("5.3", "6.0", "6.2") or int(compute_capability.partition(".")[0]) >= 7

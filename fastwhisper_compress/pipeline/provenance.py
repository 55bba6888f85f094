"""What a result depends on besides the recipe: packages, machine, settings of the environment, providers."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import fastwhisper_compress
from fastwhisper_compress.resources import usable_cpus

_PACKAGES = [
    "torch",
    "transformers",
    "openai-whisper",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "bitsandbytes",
    "jiwer",
    "numpy",
    "scipy",
    "safetensors",
    "silero-vad",
    "soundfile",
    "soxr",
    "tokenizers",
    "av",
]
# Variables that libraries read before they compute: how many threads, which instructions, which memory. No paths.
_VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_DYNAMIC", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY"),
    *("GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "VECLIB_MAXIMUM_THREADS"),
    *("OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "MKL_NUM_THREADS", "MKL_DYNAMIC", "MKL_CBWR"),
    *("MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"),
    *("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    *("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "PYTHONMALLOC"),
)


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, and of this one."""
    found = {"fastwhisper-compress": fastwhisper_compress.__version__}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def code_digest(*places: str) -> str:
    """Return the hash of this package's own source in some of its folders and files.

    A finished stage is not reused once the code that made it has changed.
    """
    digest = hashlib.sha256()
    package = Path(fastwhisper_compress.__file__).parent
    files = [[package / place] if place.endswith(".py") else (package / place).rglob("*.py") for place in places]
    for path in sorted(path for found in files for path in found):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def cpu_name() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def variables() -> dict[str, str]:
    """Return those environment variables that change how libraries compute, as far as they are set."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def environment(threads: int | None) -> dict[str, Any]:
    """Return the ``environment`` part of the results."""
    import psutil

    from fastwhisper_compress.memory.processor import read_processor
    from fastwhisper_compress.nvml import open_nvml, read_gpus
    from fastwhisper_compress.runtime.session import import_onnxruntime

    versions = package_versions(_PACKAGES)
    return {
        "package_version": versions.pop("fastwhisper-compress"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": len(usable_cpus()),
        "threads": threads or len(usable_cpus()),
        "isa": read_processor().isa or [],
        "gpus": [gpu.name for gpu in read_gpus(open_nvml())],
        "variables": variables(),
        "memory_bytes": psutil.virtual_memory().total,
        "versions": versions,
        "providers": import_onnxruntime().get_available_providers(),
    }

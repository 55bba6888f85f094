"""Turn ``auto`` into a number of clips when a job begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.memory.auto_batch import BatchChoice, choose_batch
from fastwhisper_compress.memory.layout import layout_of
from fastwhisper_compress.memory.limits import available_bytes
from fastwhisper_compress.memory.runtime import CUDA_CONTEXT_BYTES, Backend, Running
from fastwhisper_compress.nvml import open_nvml, read_gpus
from fastwhisper_compress.pipeline.files import read_json
from fastwhisper_compress.resources import usable_cpus
from fastwhisper_compress.runtime.manifest import BatchSize


def settle_batch(
    asked: BatchSize,
    artifacts: Sequence[Path],
    *,
    threads: int | None,
    backend: Backend = "onnxruntime",
    tell: Callable[[str], None],
) -> tuple[int, BatchChoice | None]:
    """Return how many clips to transcribe together, and where ``auto`` was asked for, how that was chosen.

    Args:
        asked: A number, or ``auto``: the most at which each artifact fits into what is free now.
        artifacts: Folders, all for one provider.
        threads: Of the CPU provider; None takes one a core.
        backend: What runs the encoder.
        tell: Given the choice in words.

    Raises:
        BackendError: ``auto`` for CUDA, and no GPU can be asked how much it has left.
    """
    if asked != "auto":
        return asked, None
    manifests = [read_json(folder / "manifest.json") for folder in artifacts]
    free = free_bytes(manifests[0]["provider"])
    running = Running(threads or len(usable_cpus()), backend)
    choice = choose_batch([layout_of(manifest) for manifest in manifests], free, running)
    tell(str(choice))
    return choice.batch_size, choice


def free_bytes(provider: str) -> int:
    """Return what a new process may have of this machine's memory, or of its first GPU's.

    Raises:
        BackendError: There is no GPU that tells.
    """
    if provider == "cpu":
        return available_bytes()
    for gpu in read_gpus(open_nvml()):
        return max(0, gpu.free_bytes - CUDA_CONTEXT_BYTES)
    raise BackendError(
        "no NVIDIA GPU can be asked for its free memory", place="--batch-size auto", remedy="give a number of clips"
    )

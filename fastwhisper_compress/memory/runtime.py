"""What the runtime itself takes, whatever the model: measured on a Whisper of a few hundred kilobytes.

``scripts/bench_memory.py`` measures these again; eval/baselines/memory-cpu.json holds what it found, and how far off
the estimates are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Backend = Literal["onnxruntime", "openvino"]
"""What runs the encoder; the rest always runs on ONNX Runtime."""

_MB = 1_000_000


@dataclass(frozen=True)
class Overhead:
    """Memory that is there before the model.

    Attributes:
        imports_bytes: The process once its libraries are imported.
        sessions_bytes: Three opened graphs without weights: their objects, and library code read in by them.
        first_run_bytes: Library code and small objects that the first clip brings in.
        arena_slack: What the runtime's allocator holds, by what is alive at the widest point: freed blocks do not fit what
            is asked for next.
        measured: False where the figures are assumptions, because no such machine was at hand.
        encoder_layer_units: What an encoder with an allocator of its own keeps for each of its layers, in units of the
            residual stream; 0 where it takes its activations from the arena.
        repacks_encoder: Whether it holds a second copy of all encoder weights that are not int8_dynamic.
    """

    imports_bytes: int
    sessions_bytes: int
    first_run_bytes: int
    arena_slack: float
    measured: bool
    encoder_layer_units: float = 0.0
    repacks_encoder: bool = False

    @property
    def bytes(self) -> int:
        """All that does not depend on the model."""
        return self.imports_bytes + self.sessions_bytes + self.first_run_bytes


CPU = Overhead(52 * _MB, 22 * _MB, 6 * _MB, 1.25, measured=True)
# Fitted on fp32 and int8_dynamic of tiny.en and base: OpenVINO hands little of a layer's memory on to the next.
OPENVINO = Overhead(70 * _MB, 59 * _MB, 21 * _MB, 1.25, measured=True, encoder_layer_units=7.7, repacks_encoder=True)
# Workspaces of cuBLAS and cuDNN in the card's memory; its context is among what a device profile calls reserved. The
# arena grows by doubling.
CUDA = Overhead(0, 100 * _MB, 50 * _MB, 1.5, measured=False)


CUDA_CONTEXT_BYTES = 512 * 1024**2  # of the card, by a process that uses it; an assumption


@dataclass(frozen=True)
class Running:
    """How an artifact is run.

    Attributes:
        threads: Of the CPU provider: each has a workspace of its own in the attention kernel.
        backend: What runs the encoder.
    """

    threads: int = 2
    backend: Backend = "onnxruntime"


PLAIN = Running()


def overhead(provider: str, backend: Backend = "onnxruntime") -> Overhead:
    """Return what the runtime takes on a provider: memory of the process for ``cpu``, of the card for ``cuda``."""
    if provider == "cuda":
        return CUDA
    return OPENVINO if backend == "openvino" else CPU


def error_of_estimate(said: int, came: int, provider: str) -> float | None:
    """Return by which share an estimate of a whole process, or of a card, is off, the runtime itself left out of both.

    None where less was measured than the runtime takes, so that there is nothing to compare.
    """
    base = overhead(provider).bytes + (CUDA_CONTEXT_BYTES if provider == "cuda" else 0)
    return (said - base) / (came - base) - 1 if came > base else None

"""What the runtime itself takes, whatever the model: measured on a Whisper of a few hundred kilobytes.

``scripts/bench_memory.py`` measures these again; eval/baselines/memory-cpu.json holds what it found, and how far off
the estimates are.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    imports_bytes: int
    sessions_bytes: int
    first_run_bytes: int
    arena_slack: float
    measured: bool

    @property
    def bytes(self) -> int:
        """All that does not depend on the model."""
        return self.imports_bytes + self.sessions_bytes + self.first_run_bytes


CPU = Overhead(52 * _MB, 22 * _MB, 6 * _MB, 1.25, measured=True)
# Workspaces of cuBLAS and cuDNN in the card's memory; its context is among what a device profile calls reserved. The
# arena grows by doubling.
CUDA = Overhead(0, 100 * _MB, 50 * _MB, 1.5, measured=False)


CUDA_CONTEXT_BYTES = 512 * 1024**2  # of the card, by a process that uses it; an assumption


def overhead(provider: str) -> Overhead:
    """Return what the runtime takes on a provider: memory of the process for ``cpu``, of the card for ``cuda``."""
    return CPU if provider == "cpu" else CUDA


def error_of_estimate(said: int, came: int, provider: str) -> float | None:
    """Return by which share an estimate of a whole process, or of a card, is off, the runtime itself left out of both.

    None where less was measured than the runtime takes, so that there is nothing to compare.
    """
    base = overhead(provider).bytes + (CUDA_CONTEXT_BYTES if provider == "cuda" else 0)
    return (said - base) / (came - base) - 1 if came > base else None

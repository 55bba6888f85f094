"""How much memory a recipe's artifact needs, phase by phase, from the model's dimensions alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastwhisper_compress.memory.layout import Layout
from fastwhisper_compress.memory.runtime import overhead
from fastwhisper_compress.memory.weights import graph_of, resident, resident_bytes, stored_by_precision, stored_bytes
from fastwhisper_compress.memory.working_set import (
    Activations,
    Workload,
    activations,
    cross_cache_bytes,
    self_cache_bytes,
)

PHASES = ("load", "encode", "prefill", "decode")


@dataclass(frozen=True)
class Estimate:
    """What one artifact needs for one workload, in bytes.

    Attributes:
        workload: What it is to do.
        provider: ``cpu``: memory of the process; ``cuda``: memory of the card.
        stored: Weights on disk by precision.
        weights: Weights as they are loaded, all of them.
        runtime: What the runtime takes without a model.
        self_cache: Keys and values of the text.
        cross_cache: Keys and values of the audio.
        activations: What else is alive.
        phases: Peak of the whole process, or of the card, in each phase: ``load``, ``encode``, ``prefill``, ``decode``. An
            allocator keeps what it once had, so that on a CPU a later phase is never below an earlier one.
    """

    workload: Workload
    provider: str
    stored: dict[str, int]
    weights: int
    runtime: int
    self_cache: int
    cross_cache: int
    activations: Activations
    phases: dict[str, int]

    @property
    def peak(self) -> int:
        """The most that is needed at any time."""
        return max(self.phases.values())

    @property
    def disk(self) -> int:
        """Bytes of the weight file; configs and tokenizer add about 2 MB."""
        return sum(self.stored.values())

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"peak": self.peak, "disk": self.disk}


def estimate(layout: Layout, work: Workload, *, threads: int = 2) -> Estimate:
    """Estimate an artifact.

    Args:
        layout: The model as the recipe writes it.
        work: What it is to do.
        threads: Of the CPU provider: each has a workspace of its own in the attention kernel.
    """
    base = overhead(layout.plan.provider)
    alive = activations(layout, work, threads=threads)
    cross, own = cross_cache_bytes(layout, work), self_cache_bytes(layout, work)
    encoder, decoder = resident(layout, "encoder"), resident(layout, "decoder")
    largest = max(stored_bytes(layout, *one) for one in layout.modules())
    # What the encoder hands on exists while its last projections are made; before that, its widest block.
    widest = max(alive.log_mel, alive.encode, cross + alive.encode // 4)
    arena = round(base.arena_slack * widest) if work.batch == 1 else cross + round(base.arena_slack * alive.encode)
    text = own + alive.logits
    start = base.imports_bytes + base.sessions_bytes
    running = start + base.first_run_bytes
    held = {"encode": encoder + decoder, "decode": encoder + decoder, "load": encoder + decoder}
    if layout.offload == "phase":
        held = {"encode": encoder, "decode": decoder, "load": max(encoder, decoder)}
    elif layout.offload == "layers":
        streamed = _largest_part(layout)
        held = dict.fromkeys(held, streamed)
    load = start + held["load"] + (largest if layout.offload != "layers" else 0)
    encode = running + held["encode"] + arena
    prefill = running + held["decode"] + arena + text + alive.prefill
    decode = running + held["decode"] + arena + text + alive.decode
    phases = {"load": load, "encode": encode, "prefill": prefill, "decode": max(decode, prefill)}
    return Estimate(
        workload=work,
        provider=layout.plan.provider,
        stored=stored_by_precision(layout),
        weights=encoder + decoder,
        runtime=base.bytes,
        self_cache=own,
        cross_cache=cross,
        activations=alive,
        phases=phases,
    )


def _largest_part(layout: Layout) -> int:
    """Return the weights of the largest layer, which are all that streaming keeps."""
    parts: dict[str, int] = {}
    for module, precision in layout.modules():
        words = module.path.split(".")
        name = ".".join([graph_of(module.path), *words[1:3]]) if words[1] == "layers" else module.path
        parts[name] = parts.get(name, 0) + resident_bytes(layout, module, precision)
    return max(parts.values())

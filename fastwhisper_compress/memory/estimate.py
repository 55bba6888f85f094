"""How much memory a recipe's artifact needs, phase by phase, from the model's dimensions alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastwhisper_compress.memory.layout import Layout
from fastwhisper_compress.memory.runtime import PLAIN, Running, overhead
from fastwhisper_compress.memory.weights import Weights, encoder_copy_bytes, weigh
from fastwhisper_compress.memory.working_set import (
    Activations,
    Workload,
    activations,
    audio_length,
    cross_cache_bytes,
    self_cache_bytes,
)

PARTS = ("runtime", "weights", "token_table", "activations", "cross_cache", "self_cache")
_ROWS_A_TOKEN = 140  # of the mapped token table come into memory with each: the system reads ahead; measured


@dataclass(frozen=True)
class Estimate:
    """What one artifact needs for one workload, in bytes.

    Attributes:
        workload: What it is to do.
        provider: ``cpu``: memory of the process; ``cuda``: memory of the card.
        stored: Weights on disk by precision.
        weights: Weights as they are loaded, all of them.
        activations: Most that is alive in each phase besides weights and caches, before the allocator's slack.
        phases: For each of ``load``, ``encode``, ``prefill`` and ``decode`` what it holds at its peak, by part:
            ``runtime`` (what is there without a model), ``weights``, ``token_table`` (mapped from the file where tokens are
            looked up; the system takes it back when memory is short), ``activations`` (with the allocator's slack, which
            it keeps until the end), ``cross_cache`` (keys and values of the audio) and ``self_cache`` (of the text).
    """

    workload: Workload
    provider: str
    stored: dict[str, int]
    weights: int
    activations: Activations
    phases: dict[str, dict[str, int]]

    def phase_bytes(self, phase: str) -> int:
        """Return the peak of the process, or of the card, in a phase."""
        return sum(self.phases[phase].values())

    @property
    def peak(self) -> int:
        """The most that is needed at any time."""
        return max(map(self.phase_bytes, self.phases))

    @property
    def disk(self) -> int:
        """Bytes of the weight file; configs and tokenizer add about 2 MB."""
        return sum(self.stored.values())

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        totals = {phase: self.phase_bytes(phase) for phase in self.phases}
        return asdict(self) | {"phase_bytes": totals, "peak": self.peak, "disk": self.disk}


def estimate(layout: Layout, work: Workload, running: Running = PLAIN, *, weights: Weights | None = None) -> Estimate:
    """Estimate an artifact.

    Args:
        layout: The model as the recipe writes it.
        work: What it is to do.
        running: How it is run.
        weights: Those of the layout, where they have been added up before.
    """
    weights = weights or weigh(layout)
    base = overhead(layout.plan.provider, running.backend)
    alive = activations(layout, work, threads=running.threads)
    cross, own = cross_cache_bytes(layout, work), self_cache_bytes(layout, work)
    held = _held(layout, weights, encoder_copy_bytes(layout) if base.repacks_encoder else 0)
    start = base.imports_bytes + base.sessions_bytes
    at_work = start + base.first_run_bytes
    # Of a batch, a CPU encodes one clip into the arena and then all into buffers of their own; CUDA encodes all at once.
    one = cross if layout.plan.provider == "cuda" else cross // (work.batch * work.beam)
    # At the widest block nothing is handed on yet; when all is, the block before it has been freed, and its room is taken.
    widest = max(alive.log_mel, alive.encode, one + alive.encode // 4)
    if base.encoder_layer_units:  # only features and decoder are left to the arena
        unit = audio_length(layout, work) * layout.dims.d_model * 4
        own_layers = round(base.encoder_layer_units * layout.dims.encoder_layers * unit)
        encoding = own_layers + round(base.arena_slack * alive.log_mel)
        kept, loading = (0 if layout.offload == "phase" else encoding), weights.largest_stored
    elif _in_place(layout):  # no arena: what is freed goes back to the system, and nothing is copied to be repacked
        encoding, kept, loading = max(0, widest - one), 0, 0
    else:
        encoding = round(base.arena_slack * widest) - (one if one == cross else 0)
        kept, loading = encoding, weights.largest_stored
    table = _token_table(layout, work, weights)
    text = {
        "token_table": table,
        "runtime": at_work,
        "weights": held["decode"],
        "cross_cache": cross,
        "self_cache": own,
    }
    phases = {
        "load": {"runtime": start, "weights": held["load"], "activations": loading},
        "encode": {
            "token_table": table,
            "runtime": at_work,
            "weights": held["encode"],
            "activations": encoding,
            "cross_cache": cross,
        },
        "prefill": text | {"activations": kept + alive.prefill + alive.logits},
        "decode": text | {"activations": kept + max(alive.decode, alive.prefill) + alive.logits},
    }
    return Estimate(
        workload=work,
        provider=layout.plan.provider,
        stored=weights.stored,
        weights=weights.loaded,
        activations=alive,
        phases={phase: {part: parts.get(part, 0) for part in PARTS} for phase, parts in phases.items()},
    )


def _token_table(layout: Layout, work: Workload, weights: Weights) -> int:
    """Return how much of the token table its lookup has mapped; on CUDA it is among the weights."""
    if layout.plan.provider == "cuda" or layout.offload == "layers":  # which drops what it has read
        return 0
    rows = layout.dims.n_vocab if work.vocabulary is None else _ROWS_A_TOKEN * work.vocabulary
    return round(weights.token_table * min(1, rows / layout.dims.n_vocab))


def _in_place(layout: Layout) -> bool:
    """Say whether weights are read where the file is mapped: when offloading, unless a kernel needs them repacked."""
    repacked = any(one.scheme in ("int8_dynamic", "weight_only") for one in layout.plan.precision.values())
    return layout.offload == "layers" or (layout.offload == "phase" and not repacked)


def _held(layout: Layout, weights: Weights, encoder_copy: int) -> dict[str, int]:
    """Return the weights in memory in each phase."""
    encoder, decoder = weights.encoder + encoder_copy, weights.decoder
    if layout.offload == "layers":
        return dict.fromkeys(("load", "encode", "decode"), weights.largest_part)
    if layout.offload == "phase":
        loaded = 0 if _in_place(layout) else max(encoder, decoder)
        return {"load": loaded, "encode": encoder, "decode": decoder}
    return dict.fromkeys(("load", "encode", "decode"), encoder + decoder)

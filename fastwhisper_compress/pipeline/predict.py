"""What the estimate says of an artifact and a workload, to stand in the report beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastwhisper_compress.evaluation.measure import Evaluation
from fastwhisper_compress.memory.estimate import estimate
from fastwhisper_compress.memory.layout import layout_of
from fastwhisper_compress.memory.runtime import CUDA_CONTEXT_BYTES, Running
from fastwhisper_compress.memory.working_set import MAX_AUDIO_S, Workload

PROMPT_TOKENS = 4  # start, language, task, no timestamps


def predicted(manifest: Mapping[str, Any], evaluation: Evaluation) -> dict[str, dict[str, int]]:
    """Return the ``predicted`` part of a side's memory.

    Only the workload is taken from the evaluation: its batch, the longest window, the longest text and the number of
    different tokens.

    Args:
        manifest: The artifact's.
        evaluation: What was run.
    """
    margin_s = manifest["encoder_context"]["margin_s"]
    longest_s = max(row.audio_s for row in evaluation.rows)
    window_s = MAX_AUDIO_S if margin_s is None else min(MAX_AUDIO_S, longest_s + margin_s)
    # An elastic transcript that went wrong is made again with the full window.
    window_s = MAX_AUDIO_S if any(row.redone for row in evaluation.rows) else max(window_s, 0.1)
    # A row of a recording holds the tokens of all its windows, of which none is longer than the model can write.
    longest = max(len(row.tokens) for row in evaluation.rows) + PROMPT_TOKENS
    tokens = min(longest, manifest["kv_cache"]["capacity"])
    n_different = len({token for row in evaluation.rows for token in row.tokens})
    # What was measured includes the first attempt of a batch that turned out too large.
    batch = min(int(evaluation.process["batch_size"]), len(evaluation.rows))
    found = estimate(
        layout_of(manifest),
        Workload(batch, window_s, tokens=tokens, vocabulary=n_different),
        Running(evaluation.threads),
    )
    widest = max(found.phases, key=found.phase_bytes)
    context = {"context": CUDA_CONTEXT_BYTES} if manifest["provider"] == "cuda" else {}  # measured on the card too
    return {
        "phases": {phase: found.phase_bytes(phase) + sum(context.values()) for phase in found.phases},
        "parts": found.phases[widest] | context,
    }

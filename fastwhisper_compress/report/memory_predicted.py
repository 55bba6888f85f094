"""What was predicted of memory, beside what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.memory.runtime import error_of_estimate
from fastwhisper_compress.report.format import NONE, number, signed
from fastwhisper_compress.report.memory_phases import in_order, or_none, shown
from fastwhisper_compress.report.table import Table

if TYPE_CHECKING:
    from fastwhisper_compress.report.model import Memory


_PARTS = {
    "token_table": "token table",
    "cross_cache": "keys and values of the audio",
    "self_cache": "keys and values of the text",
}


def predicted_tables(sides: tuple[Memory, Memory]) -> tuple[Table | None, Table | None]:
    """Predicted against measured, and the parts of the prediction; None where nothing was predicted."""
    said = [side.predicted.phases if side.predicted else {} for side in sides]
    made_of = [side.predicted.parts if side.predicted else {} for side in sides]
    names = {name for phases in said for name in phases}
    if not names:
        return None, None
    errors: list[float] = []
    rows = [
        (
            shown(name),
            *(cell for side, phases in zip(sides, said, strict=True) for cell in _cells(side, phases, name, errors)),
        )
        for name in in_order(names)
    ]
    parts = dict.fromkeys(name for one in made_of for name in one)
    note = (
        f"Of weights, caches and activations alone, without the runtime, the largest error is {number(100 * max(errors), 1)} %."
        if errors
        else ""
    )
    return Table(
        "Predicted against measured peak of each phase",
        ("Phase", "FP32, predicted", "Measured", "Error", "Candidate, predicted", "Measured", "Error"),
        tuple(rows),
        note=note,
    ), Table(
        "What the predicted peak is made of",
        ("Part", "FP32", "Candidate"),
        tuple((_PARTS.get(name, name), *(or_none(one.get(name)) for one in made_of)) for name in parts),
    )


def _cells(side: Memory, phases: dict[str, int], name: str, errors: list[float]) -> tuple[str, str, str]:
    """Return predicted, measured and error; note the error of what is not the runtime's own."""
    predicted, measured = phases.get(name), _measured(side, name)
    if predicted is None or not measured:
        return or_none(predicted), or_none(measured), NONE
    on_card = side.peak_vram_bytes is not None
    if (error := error_of_estimate(predicted, measured, "cuda" if on_card else "cpu")) is not None:
        errors.append(abs(error))
    return or_none(predicted), or_none(measured), f"{signed(100 * (predicted / measured - 1), 1)} %"


def _measured(side: Memory, name: str) -> int | None:
    """The peak where the model computes: on the GPU if there is one."""
    phase = side.trace.phase(name) if side.trace else None
    if phase is None:
        return None
    return phase.peak_rss_bytes if phase.peak_vram_bytes is None else phase.peak_vram_bytes

"""Memory by phase, measured and predicted, in words and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import NONE, megabytes, saved, seconds
from fastwhisper_compress.report.memory_phases import in_order, or_none, shown
from fastwhisper_compress.report.memory_predicted import predicted_tables
from fastwhisper_compress.report.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastwhisper_compress.report.memory_model import MemoryTraceInfo, PhaseInfo
    from fastwhisper_compress.report.model import Memory, Results


@dataclass(frozen=True)
class MemorySection:
    """What a report says of memory over time.

    Attributes:
        method: How it was measured, in a sentence.
        legend: Peak of each phase beside its colour.
        predicted: None where nothing was predicted.
    """

    method: str
    legend: Table
    phases: Table
    held: Table
    predicted: Table | None
    parts: Table | None


def memory_section(results: Results) -> MemorySection | None:
    """Format the traces of both sides; None where neither has one."""
    sides = results.baseline.memory, results.candidate.memory
    traces = [side.trace for side in sides]
    if not any(traces):
        return None
    names = in_order({one.phase for trace in traces if trace for one in trace.phases})
    return MemorySection(
        _method(results), _legend(names, traces), _phases(names, sides), _held(sides), *predicted_tables(sides)
    )


def _method(results: Results) -> str:
    told = {
        name: side.memory.trace.method
        for name, side in (("FP32", results.baseline), ("candidate", results.candidate))
        if side.memory.trace
    }
    methods = set(told.values())
    how = methods.pop() if len(methods) == 1 else ", ".join(f"{side}: {method}" for side, method in told.items())
    text = (
        f"Resident memory of the measuring process by phase (peaks: {how}). Buffers that are kept for the next clip stay "
        "resident, so each phase stands on what earlier ones left."
    )
    if results.baseline.eval.resumed_rows or results.candidate.eval.resumed_rows:
        text += " An evaluation that was resumed shows the remaining utterances only."
    return text


def _cell(trace: MemoryTraceInfo | None, name: str, tell: Callable[[PhaseInfo], str]) -> str:
    phase = trace.phase(name) if trace else None
    return NONE if phase is None else tell(phase)


def _legend(names: list[str], traces: list[MemoryTraceInfo | None]) -> Table:
    rows = [
        (shown(name), *(_cell(trace, name, lambda one: megabytes(one.peak_rss_bytes)) for trace in traces))
        for name in names
    ]
    return Table("Peak RSS of each phase", ("Phase", "FP32", "Candidate"), tuple(rows))


def _phases(names: list[str], sides: tuple[Memory, Memory]) -> Table:
    traces = [side.trace for side in sides]
    head = [
        "Phase",
        "Peak RSS, FP32",
        "Candidate",
        "Change",
        "Above imports, FP32",
        "Candidate",
        "Time, FP32",
        "Candidate",
    ]
    video = any(one.peak_vram_bytes is not None for trace in traces if trace for one in trace.phases)
    rows = []
    for name in names:
        found = [trace.phase(name) if trace else None for trace in traces]
        peaks = [one.peak_rss_bytes for one in found if one]
        row = [shown(name), *(_cell(trace, name, lambda one: megabytes(one.peak_rss_bytes)) for trace in traces)]
        own = name != "imports"  # they are the same on both sides
        row.append(saved(100 * (1 - peaks[1] / peaks[0])) if own and len(peaks) == 2 and peaks[0] else NONE)
        row += [_above(one, side) if own and one else NONE for one, side in zip(found, sides, strict=True)]
        row += [_cell(trace, name, lambda one: seconds(one.seconds)) for trace in traces]
        if video:
            row += [_cell(trace, name, lambda one: or_none(one.peak_vram_bytes)) for trace in traces]
        rows.append(tuple(row))
    return Table(
        "Peak memory and time of each phase", (*head, *(["Peak VRAM, FP32", "Candidate"] if video else [])), tuple(rows)
    )


def _above(phase: PhaseInfo, side: Memory) -> str:
    return or_none(phase.peak_rss_bytes - side.rss_imports_bytes)


def _held(sides: tuple[Memory, Memory]) -> Table:
    """What memory is made of after loading, and what is held at the end without being used."""
    columns = [_held_by(side.trace) for side in sides]
    names = [name for name in columns[0] if any(column[name] is not None for column in columns)]
    return Table(
        "What memory is made of",
        ("", "FP32", "Candidate"),
        tuple((name, *(or_none(column[name]) for column in columns)) for name in names),
        note="How many pages of mapped files are resident is the kernel's choice and differs from run to run; it can take them "
        "back. What the process wrote varies less.",
    )


def _held_by(trace: MemoryTraceInfo | None) -> dict[str, int | None]:
    load, idle = (trace.phase("load"), trace.phase("idle")) if trace else (None, None)
    waste = trace.fragmentation if trace else None
    return {
        "After load: pages of mapped files (weights, libraries)": load.file_bytes if load else None,
        "After load: written by the process": load.anon_bytes if load else None,
        "After the last clip: pages of mapped files": idle.file_bytes if idle else None,
        "After the last clip: written by the process": idle.anon_bytes if idle else None,
        "Kept for the next clip (growth since load)": waste.kept_since_load_bytes if waste else None,
        "Resident in the C allocator at the end, but unused": waste.malloc.unused_resident_bytes
        if waste and waste.malloc
        else None,
        "Held by torch on the GPU at the end, but unused": waste.torch.unused_bytes if waste and waste.torch else None,
    }

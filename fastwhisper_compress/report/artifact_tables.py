"""What is inside an artifact: bytes, types, kernels, passes, files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import NONE, megabytes, number, percent
from fastwhisper_compress.report.groups import PRECISIONS, group_rows
from fastwhisper_compress.report.table import Table

if TYPE_CHECKING:
    from fastwhisper_compress.report.model import Results


def precisions(results: Results) -> Table:
    """Weight bytes of both sides by the type they are stored in."""
    before, after = results.baseline.memory, results.candidate.memory
    sides = (before.weight_bytes_by_precision, after.weight_bytes_by_precision)
    names = [
        name for name in dict.fromkeys([*PRECISIONS, *sides[0], *sides[1]]) if any(side.get(name) for side in sides)
    ]
    rows = [(name, *(megabytes(side.get(name, 0)) for side in sides)) for name in names]
    total = ("all", megabytes(before.weight_bytes), megabytes(after.weight_bytes))
    return Table("Weight bytes per stored precision", ("Precision", "FP32", "Candidate"), (*rows, total))


def groups(results: Results) -> Table:
    """One row per part of Whisper and way of keeping it."""
    rows = tuple(
        (
            row.group,
            number(row.n_modules),
            row.storage,
            row.compute,
            row.kernel or NONE,
            megabytes(row.baseline_bytes) if row.baseline_bytes is not None else NONE,
            megabytes(row.bytes),
            percent(row.sparsity, 1),
            row.status,
        )
        for row in group_rows(results.baseline.artifact.modules, results.candidate.artifact.modules)
    )
    return Table(
        "Weights by module group: the type they are stored in, and the type they compute in",
        ("Group", "Modules", "Stored", "Computes in", "Kernel", "FP32 bytes", "Bytes", "Zeros", "Outcome"),
        rows,
        words=frozenset({2, 3, 4, 8}),
        note="Stored and computed are two things: on a CPU, FP16 weights are expanded to FP32 when they are loaded, and "
        "MatMulNBits quantises its activations block by block to multiply in INT8.",
    )


def modules(results: Results) -> Table:
    """Every module that has weights."""
    rows = tuple(
        (
            m.path,
            m.kind,
            m.storage,
            m.compute,
            m.kernel or NONE,
            number(m.parameters),
            megabytes(m.bytes),
            percent(m.sparsity, 1),
        )
        for m in results.candidate.artifact.modules
        if m.parameters or m.bytes
    )
    head = ("Module", "Kind", "Stored", "Computes in", "Kernel", "Parameters", "Bytes", "Zeros")
    return Table("Every module of the candidate", head, rows, words=frozenset({1, 2, 3, 4}))


def passes(results: Results) -> Table:
    """The recipe's passes beside what became of them."""
    applied = list(results.candidate.artifact.applied)
    rows: list[tuple[str, ...]] = []
    for spec in results.recipe.passes:
        done = next((item for item in applied if item.name == spec.name), None)
        if done is not None:
            applied.remove(done)
        settings = ", ".join(f"{key} {value}" for key, value in spec.settings.items()) or NONE
        targets, ignore = ", ".join(spec.targets) or NONE, ", ".join(spec.ignore) or NONE
        rows.append(
            (
                spec.name,
                settings,
                targets,
                ignore,
                number(done.n_modules) if done else NONE,
                done.note if done else NONE,
            )
        )
    rows += [(item.name, NONE, NONE, NONE, number(item.n_modules), item.note) for item in applied]
    head = ("Pass", "Settings", "Targets", "Ignore", "Modules", "Note")
    return Table("Passes, in the order they were applied", head, tuple(rows), words=frozenset({1, 2, 3, 5}))


def fusions(results: Results) -> Table:
    """Counts of fused operators."""
    before, after = results.baseline.artifact.fusions, results.candidate.artifact.fusions
    names = list(dict.fromkeys([*after, *before]))
    rows = tuple((name.replace("_", " "), number(before.get(name, 0)), number(after.get(name, 0))) for name in names)
    return Table("Fused operators", ("Fusion", "FP32", "Candidate"), rows)


def files(results: Results) -> Table:
    """What ``size_on_disk_bytes`` counts."""
    rows = tuple((item.path, megabytes(item.bytes), item.sha256[:12]) for item in results.candidate.artifact.files)
    total = ("Total", megabytes(results.candidate.artifact.size_on_disk_bytes), "")
    return Table("Files of the artifact", ("File", "Size", "SHA-256"), (*rows, total), words=frozenset({2}))

"""Modules gathered into the parts of Whisper that a reader thinks in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastwhisper_compress.checkpoint.factors import owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastwhisper_compress.report.model import ModuleInfo

PRECISIONS = ("fp32", "fp16", "int8", "int4")

# First match names the group; the order is the order of the table. Norms come before the attention they stand in front of.
_GROUPS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("Norms", r"(.*\.)?(\w*layer_norm)"),
        ("Encoder attention", r"encoder\.layers\.\d+\.self_attn(\..*)?"),
        ("Encoder MLP", r"encoder\.layers\.\d+\.fc[12](\..*)?"),
        ("Decoder self-attention", r"decoder\.layers\.\d+\.self_attn(\..*)?"),
        ("Decoder cross-attention", r"decoder\.layers\.\d+\.encoder_attn(\..*)?"),
        ("Decoder MLP", r"decoder\.layers\.\d+\.fc[12](\..*)?"),
        ("Token embedding", r"decoder\.embed_tokens"),
        ("Convolutions", r"encoder\.conv\d"),
        ("Positions", r"(en|de)coder\.embed_positions"),
        ("Other", r".*"),
    )
)
_ORDER = [name for name, _ in _GROUPS[1:-1]] + ["Norms", "Other"]


@dataclass(frozen=True)
class GroupRow:
    """Modules of one group that share storage, compute type and kernel."""

    group: str
    n_modules: int
    storage: str
    compute: str
    kernel: str
    bytes: int
    baseline_bytes: int | None
    sparsity: float
    status: str


def group_of(path: str) -> str:
    """Name the part of Whisper that a module belongs to."""
    return next(name for name, pattern in _GROUPS if pattern.fullmatch(path))


def group_rows(baseline: Sequence[ModuleInfo], candidate: Iterable[ModuleInfo]) -> list[GroupRow]:
    """One row per group and way of keeping it, in the order of the network.

    Containers without weights of their own are left out. ``sparsity`` is weighted by parameters. A group is ``kept`` where it is
    stored as the baseline stores it and loses nothing, ``compressed`` where it takes fewer bytes.
    """
    before = {module.path: module.bytes for module in baseline}
    found: dict[tuple[str, str, str, str], list[ModuleInfo]] = {}
    for module in candidate:
        if module.parameters or module.bytes:
            found.setdefault((group_of(module.path), module.storage, module.compute, module.kernel), []).append(module)
    rows = [_row(key, modules, before) for key, modules in found.items()]
    return sorted(rows, key=lambda row: _ORDER.index(row.group))  # stable: kinds of one group stay in module order


def _row(key: tuple[str, str, str, str], modules: list[ModuleInfo], before: dict[str, int]) -> GroupRow:
    group, storage, compute, kernel = key
    now = sum(module.bytes for module in modules)
    whole = {owner(module.path) for module in modules}
    then = sum(before[path] for path in whole) if whole <= before.keys() else None
    parameters = sum(module.parameters for module in modules)
    zeros = sum(module.parameters * module.sparsity for module in modules)
    sparsity = zeros / parameters if parameters else 0.0
    status = "compressed" if then is not None and now < then else "pruned to zeros" if sparsity > 0.005 else "kept"
    return GroupRow(group, len(whole), storage, compute, kernel, now, then, sparsity, status)

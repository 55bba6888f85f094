"""How a memory plan looks in a terminal: the answer, a bar a phase, and what the shipped recipes would need."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastwhisper_compress.checkpoint.known import n_parameters
from fastwhisper_compress.console import foreign
from fastwhisper_compress.harmless import harmless
from fastwhisper_compress.memory.fit import MOST_CLIPS

if TYPE_CHECKING:
    from fastwhisper_compress.memory.device import Device
    from fastwhisper_compress.memory.estimate import Estimate
    from fastwhisper_compress.memory.plan import MemoryPlan
    from fastwhisper_compress.memory.training import TrainingEstimate

_BAR = 48  # characters
_WIDE = 120
# Part of a phase: its name, its character where there is no colour, and its colour.
_PARTS = {
    "runtime": ("runtime", "░", "bright_black"),
    "weights": ("weights", "█", "blue"),
    "token_table": ("token table", "▚", "cyan"),
    "activations": ("activations", "▒", "yellow"),
    "cross_cache": ("KV of the audio", "▓", "green"),
    "self_cache": ("KV of the text", "▌", "magenta"),
}


def show_plan(plan: MemoryPlan) -> None:
    """Print a plan on stdout."""
    _console().print(Group(*_plan(plan)))


def show_devices(found: Iterable[Device]) -> None:
    """Print devices on stdout."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("device", no_wrap=True)
    for heading in ("memory", "free", "GB/s", "FP32", "FP16", "BF16", "INT8"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        free = one.memory_bytes - one.reserved_bytes if one.available_bytes is None else one.available_bytes
        rates = [one.bandwidth_bytes_per_s, *(one.flops(kind) for kind in ("fp32", "fp16", "bf16", "int8"))]
        units = (1e9, 1e12, 1e12, 1e12, 1e12)
        cells = [_rate(rate, unit) for rate, unit in zip(rates, units, strict=True)]
        table.add_row(
            foreign(one.name), foreign(one.title), f"{one.memory_bytes / 1e9:.1f} GB", f"{free / 1e9:.1f} GB", *cells
        )
    console = _console()
    console.print(table)
    console.print(
        "\nFree: for a model. Peaks in 10^12 operations a second, dense. `--json` tells the source of every figure."
    )


def _console() -> Console:
    """Return a console as wide as the terminal, or as the tables where output goes to a file or a program."""
    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else _WIDE)


def _megabytes(n_bytes: int | None, digits: int) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e6:,.{digits}f} MB"


def _rate(rate: float | None, unit: float) -> str:
    return "" if rate is None else f"{rate / unit:,.{0 if rate >= 10 * unit else 2}f}"


def _plan(plan: MemoryPlan) -> Iterator[RenderableType]:
    work, need = plan.work, plan.need
    yield Text(harmless(plan.answer), style="bold green" if plan.fits else "bold red")
    on = ", encoder on OpenVINO" if plan.backend == "openvino" else ""
    yield foreign(
        f"{plan.model}, {n_parameters(plan.dims) / 1e6:.1f} M parameters, {plan.recipe}{on}; {plan.device.title}; batch "
        f"{work.batch}, {work.audio_s:g} s of audio"
        + (f", beam {work.beam}" if work.beam > 1 else "")
        + f", {'the longest text' if work.tokens is None else f'{work.tokens} tokens'}\n"
    )
    yield _bars(need)
    yield Text()
    yield _details(plan)
    if plan.training is not None:
        yield Text()
        yield _training(plan.training, plan.budget)
    if plan.options:
        yield Text()
        yield _options(plan)
    for warning in plan.warnings:
        yield Text(harmless(f"\nnote: {warning}"), style="yellow")


def _bars(need: Estimate) -> Table:
    """A line a phase: its parts, one behind the other, to one scale."""
    table = Table("", "peak of", box=None, pad_edge=False, show_header=False)
    for phase, parts in need.phases.items():
        bar = Text()
        drawn, so_far = 0, 0
        for part, size in parts.items():
            so_far += size
            end = round(_BAR * so_far / need.peak)
            _, character, colour = _PARTS[part]
            bar.append(character * (end - drawn), style=colour)
            drawn = end
        table.add_row(phase, f"{need.phase_bytes(phase) / 1e6:,.0f} MB", bar)
    legend = Text()
    for name, character, colour in _PARTS.values():
        legend.append(f"{character} ", style=colour).append(f"{name}  ")
    table.add_row("", "", legend)
    table.columns[1].justify = "right"
    return table


def _details(plan: MemoryPlan) -> Table:
    need, roof = plan.need, plan.roofline
    last = need.phases["decode"]
    stored = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in need.stored.items())
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    alive = need.activations
    rows: list[tuple[str, int, str]] = [
        ("weights on disk", need.disk, stored),
        ("weights loaded", need.weights, "as the kernels want them"),
        ("token table", last["token_table"], "mapped as tokens are looked up; given back when memory is short"),
        ("KV of the text", last["self_cache"], "grows with every token"),
        ("KV of the audio", last["cross_cache"], "fixed by the window"),
        ("activations", alive.encode, f"alive at once in the encoder, most in its {alive.encode_where}"),
        ("", alive.attention_flash, "attention's workspace in the fused kernel"),
        ("", alive.attention_plain, "the same in plain operators, which hold every score"),
        ("logits", alive.logits, ""),
        ("runtime", last["runtime"], "whatever the model"),
    ]
    for name, size, words in rows:
        table.add_row(name, f"{size / 1e6:,.1f} MB", words)
    for name, bound in (("encode at best", roof.encode), ("a token at best", roof.step)):
        if bound.least_s is not None:
            table.add_row(name, f"{bound.least_s * 1e3:,.2f} ms", f"bound by {bound.binds}")
    if roof.rtfx is not None:
        table.add_row("at best", f"{roof.rtfx:,.0f}", "seconds of audio a second (roofline)")
    return table


def _training(found: TrainingEstimate, budget: int) -> Table:
    how = "autocast" if found.amp else "FP32"
    title = f"training in {how}, AdamW on all parameters, {found.batch} clips at once"
    table = Table(title, box=None, pad_edge=False)
    table.add_column("plain", justify="right")
    table.add_column("gradient checkpointing", justify="right")
    kept = (found.activations, found.activations_checkpointed)
    same = {"weights": found.weights, "gradients": found.gradients, "optimiser": found.optimiser}
    same["teacher"] = found.teacher
    for name, size in same.items():
        table.add_row(name, *[f"{size / 1e6:,.0f} MB"] * 2)
    table.add_row("activations", *(f"{size / 1e6:,.0f} MB" for size in kept))
    table.add_row("loss", *[f"{found.loss / 1e6:,.0f} MB"] * 2)
    peaks = [found.peak(checkpointing=one) for one in (False, True)]
    table.add_row("all, the framework aside", *(f"{peak / 1e6:,.0f} MB" for peak in peaks), style="bold")
    table.add_row("", *("fits" if peak <= budget else "does not fit" for peak in peaks))
    return table


def _options(plan: MemoryPlan) -> Table:
    table = Table("shipped recipe", box=None, pad_edge=False)
    for heading in ("disk", f"peak at batch {plan.work.batch}", "largest batch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for one in plan.options:
        words = one.impossible or ("" if one.largest_batch >= plan.work.batch else "does not fit")
        most = f"{one.largest_batch:,}" + ("+" if one.largest_batch == MOST_CLIPS else "")
        batch = "" if one.impossible else most
        style = "bright_black" if words else ""
        table.add_row(foreign(one.recipe), _megabytes(one.disk, 1), _megabytes(one.peak, 0), batch, words, style=style)
    return table

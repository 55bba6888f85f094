"""What the command line shows a person: progress on stderr, tables on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table
    from rich.text import Text

    from fastwhisper_compress.pipeline.build import Report
    from fastwhisper_compress.report import Results


_DETAIL = " | "  # behind it stands what changes on the way, such as a loss
_PLACES_SHOWN = 5
_TEXT_SHOWN = 80  # characters of a place


@contextmanager
def progress() -> Iterator[Report]:
    """Give a function that shows what is going on as bars on stderr, or as plain lines where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<22}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    # Else what is printed meanwhile would go to the console, which is stderr, also where stdout is a file.
    redirect = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=redirect) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, of: int) -> None:
            what = harmless(what)
            name = what.partition(_DETAIL)[0]
            if name not in tasks:
                for task in tasks.values():
                    bars.update(task, completed=bars.tasks[task].total)
                tasks[name] = bars.add_task(what, total=of)
            bars.update(tasks[name], completed=done, total=of, description=what)

        yield show
        for task in tasks.values():
            bars.update(task, completed=bars.tasks[task].total)


def _lines() -> Report:
    said: dict[str, int] = {}

    def show(what: str, done: int, of: int) -> None:
        tenth = 10 * done // max(of, 1)
        name = what.partition(_DETAIL)[0]
        if said.get(name) != tenth:
            said[name] = tenth
            with suppress(BrokenPipeError):  # nobody reads the progress; the work goes on
                said_as = harmless(what)
                sys.stderr.write(f"{said_as} {done}/{of}\n" if of > 1 else f"{said_as}\n" if not done else "")
                sys.stderr.flush()

    return show


def results_table(results: Results) -> Table:
    """Return the figures of a run side by side."""
    from rich.table import Table

    base, new, delta = results.baseline, results.candidate, results.delta
    metric = new.eval.metric.upper()
    name = results.recipe.name
    table = Table(title=foreign(f"{name} on {results.model.id}, suite {results.suite.name}"))
    for heading in ("", "FP32", name, "change"):
        table.add_column(foreign(heading), justify="left" if not heading else "right")
    interval = "" if delta.ci95_pp is None else f" [{delta.ci95_pp[0]:+.2f}, {delta.ci95_pp[1]:+.2f}]"
    table.add_row(metric, f"{base.eval.wer:.2%}", f"{new.eval.wer:.2%}", f"{delta.wer_delta_pp:+.2f} pp{interval}")
    rows = (
        ("size on disk, MB", base.artifact.size_on_disk_bytes, new.artifact.size_on_disk_bytes),
        ("weights, MB", base.memory.weight_bytes, new.memory.weight_bytes),
        ("peak RSS, MB", base.memory.peak_rss_bytes, new.memory.peak_rss_bytes),
    )
    for name, before, after in rows:
        table.add_row(name, f"{before / 1e6:.1f}", f"{after / 1e6:.1f}", f"{after / before - 1:+.1%}")
    for phase in ("load", "encode", "decode"):
        peaks = [side.memory.peak_in(phase) for side in (base, new)]
        if peaks[0] and peaks[1]:
            values = f"{peaks[0] / 1e6:.1f}", f"{peaks[1] / 1e6:.1f}", f"{peaks[1] / peaks[0] - 1:+.1%}"
            table.add_row(f"  in {phase}", *values)
    table.add_row("speed, audio s / s", f"{base.eval.rtfx:.1f}", f"{new.eval.rtfx:.1f}", f"x {delta.rtfx_ratio:.2f}")
    return table


def foreign(text: str) -> Text:
    """Return text that is not ours for rich, which would read square brackets in it as its own markup."""
    from rich.text import Text

    return Text(harmless(text))


def memory_lines(trace: Mapping[str, Any]) -> list[str]:
    """Return a memory trace as a table in plain text."""
    from fastwhisper_compress.report.memory_phases import in_order, shown

    phases = {one["phase"]: one for one in trace["phases"]}
    loaded = phases["load"]["end_rss_bytes"]
    whole_s = sum(one["seconds"] for one in phases.values())
    video = any(one["peak_vram_bytes"] is not None for one in phases.values())
    lines = [f"{'phase':8} {'peak RSS, MB':>13} {'above load':>11} {'time':>7}{'  peak VRAM, MB' if video else ''}"]
    for name in in_order(phases):
        one = phases[name]
        above = "" if name in ("imports", "load") else f"{(one['peak_rss_bytes'] - loaded) / 1e6:+.1f}"
        vram = f"{(one['peak_vram_bytes'] or 0) / 1e6:15.1f}" if video else ""
        share = one["seconds"] / whole_s
        lines.append(f"{shown(name):8} {one['peak_rss_bytes'] / 1e6:13.1f} {above:>11} {share:7.1%}{vram}")
    return [*lines, f"after load {loaded / 1e6:.1f} MB; peaks: {trace['method']}"]


def recordings_lines(figures: Mapping[str, Any], metric: str) -> list[str]:
    """Return what recordings of more than 30 s went through, in plain text, the worst places last."""
    from fastwhisper_compress.report.format import clock, count
    from fastwhisper_compress.report.text import neutralise

    def told(key: str, what: str) -> str:
        found = figures[key]
        unit = "character" if metric == "cer" else "word"
        return f"{what}: not measured" if found is None else f"{what}: {found['n']} ({count(found['n_words'], unit)})"

    rate = "nothing was said" if figures["wer"] is None else f"{metric.upper()} {figures['wer']:.2%}"
    head = (
        f"{count(figures['n_recordings'], 'recording')} of more than 30 s in {count(figures['n_windows'], 'window')}: "
        f"{rate}, speed {figures['rtfx']:.1f} x real time"
    )
    wrong = (
        f"{told('invented', 'invented stretches')}, {told('dropped', 'dropped')}, "
        f"{told('unspoken', 'text where nobody spoke')}, windows in a circle: {figures['looped_windows']}"
    )
    lines = [head, wrong]
    for place in figures["places"][:_PLACES_SHOWN]:
        text = neutralise(place["text"])
        short = text if len(text) <= _TEXT_SHOWN else f"{text[: _TEXT_SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"
        lines.append(f"  {neutralise(place['recording'])} {clock(place['start_s'])} {place['kind']}: {short}")
    return lines


def show(value: Any) -> None:
    """Print a rich value on stdout."""
    from rich.console import Console

    Console().print(value)

"""The figure of memory over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import megabytes, number, seconds
from fastwhisper_compress.report.memory_phases import shown
from fastwhisper_compress.report.svg import (
    ACCENT,
    INK,
    NARROW,
    OTHER,
    PAPER,
    PRECISION_COLOURS,
    RULE,
    WIDE,
    Plot,
    dress,
    plot,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastwhisper_compress.report.memory_model import MemoryTraceInfo
    from fastwhisper_compress.report.model import Results

# The same as the swatches of templates/style.css.
_COLOURS = {
    "imports": PRECISION_COLOURS["fp32"],
    "load": OTHER,
    "log_mel": INK,
    "encode": PRECISION_COLOURS["fp16"],
    "prefill": PRECISION_COLOURS["int4"],
    "decode": PRECISION_COLOURS["int8"],
}
_MOST_LABELS = 0.82  # of the width: a label that begins further right would run out of the figure

Series = list[tuple[float, float, str]]  # seconds, MB, phase


def memory_timeline(results: Results) -> Plot | None:
    """Draw resident memory of both sides from the imports to the end of the first clips; None without a trace."""
    sides = [("FP32", results.baseline.memory.trace), ("Candidate", results.candidate.memory.trace)]
    traced = [(name, trace) for name, trace in sides if trace and trace.timeline]
    if not traced:
        return None
    label = "Resident memory over time, from the imports through loading to the first clips: "
    label += "; ".join(f"{name} is highest at {_told(_series(trace))}" for name, trace in traced) + "."
    return plot("memory", label, lambda figure, narrow: _draw(figure, narrow, traced))


def _told(series: Series) -> str:
    at_s, most, phase = max(series, key=lambda point: point[1])
    return f"{megabytes(most * 1e6)} in {shown(phase)}, {seconds(at_s)} after the start"


def _series(trace: MemoryTraceInfo) -> Series:
    return [(t, rss / 1e6, trace.phases[phase].phase) for t, rss, phase in trace.timeline if t <= trace.detail_s]


def _video(trace: MemoryTraceInfo) -> list[tuple[float, float]]:
    """Seconds and MB on the GPU, empty without one."""
    vram = trace.timeline_vram_bytes or ()
    return [(t, n / 1e6) for (t, _, _), n in zip(trace.timeline, vram, strict=False) if t <= trace.detail_s]


def _draw(figure: Figure, narrow: bool, traced: list[tuple[str, MemoryTraceInfo]]) -> None:
    figure.set_size_inches(NARROW if narrow else WIDE, (1.75 if narrow else 1.9) * len(traced) + 0.25)
    drawn = [(name, _series(trace), _video(trace)) for name, trace in traced]
    top = max(mb for _, series, video in drawn for mb in [*(mb for _, mb, _ in series), *(mb for _, mb in video)])
    end_s = max(series[-1][0] for _, series, _ in drawn)
    first: Axes | None = None
    for row, (name, series, video) in enumerate(drawn, 1):
        axes = dress(figure.add_subplot(len(drawn), 1, row, sharex=first, sharey=first))
        first = first or axes
        _fill(axes, series)
        _draw_video(axes, video)
        _mark_peak(axes, series, end_s)
        axes.set_title(name, loc="left", fontsize=9, color=INK, fontweight="bold")
        axes.set_ylabel("memory, MB" if video else "RSS, MB")
        axes.set_ylim(0, 1.22 * top)
        axes.set_xlim(0, end_s)
        if row < len(drawn):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("time since the start, s")


def _fill(axes: Axes, series: Series) -> None:
    """Colour what lies below the curve by phase; each phase reaches to where the next one begins."""
    begin = 0
    for i in range(1, len(series) + 1):
        if i < len(series) and series[i][2] == series[begin][2]:
            continue
        part = series[begin : i + 1]
        colour = _COLOURS.get(series[begin][2], RULE)
        axes.fill_between([t for t, _, _ in part], [mb for _, mb, _ in part], color=colour, alpha=0.6, linewidth=0)
        begin = i
    axes.plot([t for t, _, _ in series], [mb for _, mb, _ in series], color=INK, linewidth=0.9)


def _draw_video(axes: Axes, seen: list[tuple[float, float]]) -> None:
    """Draw GPU memory over the curve."""
    if seen:
        axes.plot([t for t, _ in seen], [mb for _, mb in seen], color=ACCENT, linewidth=1.3, linestyle=(0, (4, 2)))
        axes.annotate(
            "VRAM", seen[-1], xytext=(-2, 4), textcoords="offset points", ha="right", color=ACCENT, fontsize=8.5
        )


def _mark_peak(axes: Axes, series: Series, end_s: float) -> None:
    at_s, most, phase = max(series, key=lambda point: point[1])
    axes.plot([at_s], [most], marker="o", markersize=6, color=INK, markeredgecolor=PAPER, markeredgewidth=1, ls="")
    right = at_s > _MOST_LABELS * end_s
    axes.annotate(
        f"{number(most, 1)} MB in {shown(phase)}",
        (at_s, most),
        xytext=(-7 if right else 7, 5),
        textcoords="offset points",
        ha="right" if right else "left",
        color=INK,
        fontsize=9,
    )

"""The figure of speed and memory by batch size, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import megabytes, number
from fastwhisper_compress.report.svg import ACCENT, INK, NARROW, PAPER, SOFT, WIDE, Plot, dress, plot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastwhisper_compress.report.batch_model import BatchPoint
    from fastwhisper_compress.report.model import Results

Values = list[tuple[int, float]]  # position on the axis, value


def throughput_plot(results: Results) -> Plot | None:
    """Draw RTFx and peak memory over the batch size; None without a sweep."""
    if results.throughput is None:
        return None
    points = results.throughput.points
    told = [
        f"batch {number(one.batch_size)}: RTFx {number(one.rtfx, 1)}, peak RSS {megabytes(one.peak_rss_bytes)}"
        for one in points
        if one.rtfx is not None and one.peak_rss_bytes is not None
    ]
    label = "Speed and memory of the candidate by batch size; " + "; ".join(told) + "."
    return plot("throughput", label, lambda figure, narrow: _draw(figure, narrow, points))


def _draw(figure: Figure, narrow: bool, points: Sequence[BatchPoint]) -> None:
    figure.set_size_inches(*((NARROW, 4.6) if narrow else (WIDE, 2.9)))
    shape = (2, 1) if narrow else (1, 2)
    hollow = {i for i, one in enumerate(points) if one.batch_size_used != one.batch_size}
    speed, memory = (dress(figure.add_subplot(*shape, place)) for place in (1, 2))
    _line(speed, [(i, one.rtfx) for i, one in enumerate(points) if one.rtfx is not None], hollow, ACCENT)
    speed.set_ylabel("RTFx, higher is faster")
    resident = [(i, n / 1e6) for i, one in enumerate(points) if (n := one.peak_rss_bytes) is not None]
    video = [(i, n / 1e6) for i, one in enumerate(points) if (n := one.peak_vram_bytes) is not None]
    _line(memory, resident, hollow, INK)
    if video:
        _line(memory, video, hollow, SOFT)
        for values, name, colour in ((resident, "RSS", INK), (video, "VRAM", SOFT)):
            memory.annotate(name, values[-1], xytext=(8, -3), textcoords="offset points", color=colour, fontsize=8.5)
    memory.set_ylabel("peak memory, MB" if video else "peak RSS, MB")
    for axes in (speed, memory):
        axes.set_xticks(range(len(points)), [str(one.batch_size) for one in points])
        axes.set_xlim(-0.4, len(points) - 0.4)
        axes.set_ylim(0, 1.18 * axes.dataLim.ymax)
    memory.set_xlabel("clips at a time")
    if not narrow:
        speed.set_xlabel("clips at a time")


def _line(axes: Axes, values: Values, hollow: set[int], colour: str) -> None:
    """Join the values and write each above its marker; a batch that memory cut down is hollow."""
    axes.plot([i for i, _ in values], [value for _, value in values], color=colour, linewidth=1.3, alpha=0.6)
    for i, value in values:
        face = PAPER if i in hollow else colour
        edge = colour if i in hollow else PAPER
        axes.plot(
            [i], [value], marker="o", markersize=7.5, color=face, markeredgecolor=edge, markeredgewidth=1.2, ls=""
        )
        axes.annotate(
            number(value, 1 if value < 100 else 0),
            (i, value),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=8.5,
        )

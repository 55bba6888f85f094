"""The figures of errors and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fastwhisper_compress.report.format import megabytes, number, points, tick
from fastwhisper_compress.report.groups import PRECISIONS
from fastwhisper_compress.report.judge import HARMFUL_LOSS_PP, vram_saved_pct
from fastwhisper_compress.report.svg import (
    ACCENT,
    BAD,
    INK,
    NARROW,
    OTHER,
    PAPER,
    PRECISION_COLOURS,
    SOFT,
    WIDE,
    Plot,
    new_axes,
    plot,
)
from fastwhisper_compress.report.text import neutralise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastwhisper_compress.report.model import Results


@dataclass(frozen=True)
class Point:
    """A run in a comparison."""

    number: str
    x: float
    y: float
    front: bool
    baseline: bool


def tradeoff(results: Results) -> Plot:
    """Error change with its interval against what was saved, FP32 at the origin."""
    delta = results.delta
    name = results.candidate.eval.metric.upper()
    savings = [("disk", delta.size_saved_pct), ("peak RSS", delta.rss_saved_pct)]
    if (vram := vram_saved_pct(results)) is not None:
        savings.append(("peak VRAM", vram))
    label = (
        f"{name} change {points(delta.wer_delta_pp)} against savings of "
        + ", ".join(f"{number(value, 1)} % ({what})" for what, value in savings)
        + "; the FP32 baseline is at zero and zero."
    )
    return plot("tradeoff", label, lambda figure, narrow: _draw_tradeoff(figure, narrow, results, savings))


def weight_bars(results: Results) -> Plot:
    """Bytes per precision, baseline above candidate."""
    sides = [("FP32", results.baseline.memory), ("Candidate", results.candidate.memory)]
    parts = [
        f"{name} {megabytes(memory.weight_bytes)} ("
        + ", ".join(f"{precision} {megabytes(n)}" for precision, n in memory.weight_bytes_by_precision.items() if n)
        + ")"
        for name, memory in sides
    ]
    bars = [(name, memory.weight_bytes, memory.weight_bytes_by_precision) for name, memory in sides]
    return plot("weights", "Weight bytes per precision: " + "; ".join(parts) + ".", lambda f, n: _draw_bars(f, n, bars))


def pareto(slug: str, points_: Sequence[Point], x_name: str, y_name: str, *, more_is_better: bool) -> Plot:
    """Error rate against one cost; the front is joined by a line."""
    on_front = ", ".join(point.number for point in points_ if point.front)
    label = f"{y_name} against {x_name}; on the Pareto front: {on_front or 'none'}. Numbers are those of the table."
    return plot(
        slug,
        label,
        lambda f, n: _draw_pareto(f, n, runs=points_, x_name=x_name, y_name=y_name, more_is_better=more_is_better),
    )


def _draw_tradeoff(figure: Figure, narrow: bool, results: Results, savings: list[tuple[str, float]]) -> None:
    delta = results.delta
    axes = new_axes(figure, (NARROW, 3.2) if narrow else (WIDE, 3.5))
    y, xs = delta.wer_delta_pp, [value for _, value in savings]
    bounds = [interval for interval in (delta.ci95_pp, delta.ci95_by_speaker_pp) if interval]
    low, high = min((y, *(b[0] for b in bounds))), max((y, *(b[1] for b in bounds)))
    bottom, top = min(low, -0.25), max(high, HARMFUL_LOSS_PP * 1.15)
    pad = 0.14 * (top - bottom)
    ceiling = top + 1.6 * pad  # room for the names above the whiskers
    axes.set_ylim(bottom - pad, ceiling)
    left, right = min(0.0, *xs), max(10.0, *xs)
    axes.set_xlim(left - 0.09 * (right - left), right + 0.12 * (right - left))
    axes.axhline(0, color=SOFT, linewidth=0.8)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.axhspan(HARMFUL_LOSS_PP, ceiling, color=BAD, alpha=0.07, linewidth=0)
    axes.axhline(HARMFUL_LOSS_PP, color=BAD, linewidth=0.8, linestyle=(0, (2, 3)))
    beside = axes.get_yaxis_transform()
    axes.text(1.012, HARMFUL_LOSS_PP, "harmful\nfrom here", transform=beside, va="center", color=BAD, fontsize=8.5)
    axes.plot([min(xs), max(xs)], [y, y], color=ACCENT, linewidth=1, alpha=0.45)
    for x in xs:
        _whisker(axes, x, y, delta.ci95_by_speaker_pp, thin=True)
        _whisker(axes, x, y, delta.ci95_pp, thin=False)
        _marker(axes, x, y, "o", ACCENT)
    _marker(axes, 0, 0, "D", INK)
    axes.annotate("FP32", (0, 0), xytext=(7, -13), textcoords="offset points", color=INK, fontsize=9, fontweight="bold")
    _label_savings(axes, savings, high, right - left, narrow)
    synthetic = ", synthetic speech" if results.suite.synthetic else ""
    axes.set_xlabel("saved against FP32, %")
    axes.set_ylabel(f"{results.candidate.eval.metric.upper()} change, pp{synthetic}")
    axes.yaxis.set_major_formatter(lambda value, _: tick(value, sign=True))


def _whisker(axes: Axes, x: float, y: float, bounds: tuple[float, float] | None, *, thin: bool) -> None:
    if bounds:
        # A bootstrap interval need not hold its point estimate; a negative length is not drawable.
        lengths = [[max(0.0, y - bounds[0])], [max(0.0, bounds[1] - y)]]
        axes.errorbar([x], [y], yerr=lengths, color=ACCENT, linewidth=0.7 if thin else 1.6, capsize=5 if thin else 3.5)


def _label_savings(axes: Axes, savings: list[tuple[str, float]], y: float, span: float, narrow: bool) -> None:
    """Names above the whiskers; two that would collide are stacked."""
    near = span * (0.3 if narrow else 0.14)
    last, level = float("-inf"), 0
    for what, x in sorted(savings, key=lambda item: item[1]):
        level = level + 1 if x - last < near else 0
        last = x
        axes.annotate(
            what, (x, y), xytext=(0, 6 + 11 * level), textcoords="offset points", ha="center", color=ACCENT, fontsize=9
        )


def _draw_bars(figure: Figure, narrow: bool, bars: list[tuple[str, int, dict[str, int]]]) -> None:
    axes = new_axes(figure, (NARROW, 2.0) if narrow else (WIDE, 1.75))
    largest = max(total for _, total, _ in bars) or 1
    for position, (_, total, parts) in enumerate(reversed(bars)):
        start = 0.0
        names = [name for name in PRECISIONS if parts.get(name)] + [
            n for n in parts if n not in PRECISIONS and parts[n]
        ]
        for name in names:
            width = parts[name] / 1e6
            colour = PRECISION_COLOURS.get(name, OTHER)
            axes.barh(position, width, left=start, height=0.58, color=colour, edgecolor=PAPER, linewidth=1)
            if parts[name] > (0.14 if narrow else 0.065) * largest:
                axes.text(
                    start + width / 2, position, neutralise(name)[:8], ha="center", va="center", color=PAPER, fontsize=9
                )
            start += width
        axes.text(start + largest * 0.02 / 1e6, position, megabytes(total), va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in reversed(bars)])
    axes.set_xlim(0, largest / 1e6 * (1.3 if narrow else 1.14))
    axes.set_ylim(-0.5, len(bars) - 0.5)
    axes.set_xlabel("weights, MB")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")


def _draw_pareto(
    figure: Figure, narrow: bool, *, runs: Sequence[Point], x_name: str, y_name: str, more_is_better: bool
) -> None:
    axes = new_axes(figure, (NARROW, 3.2) if narrow else (WIDE, 3.6))
    front = sorted((point.x, point.y) for point in runs if point.front)
    if len(front) > 1:
        where: Literal["pre", "post"] = "pre" if more_is_better else "post"
        axes.step([x for x, _ in front], [y for _, y in front], where=where, color=ACCENT, linewidth=1.3, alpha=0.6)
    corners = ((6, 5), (-6, -13), (6, -13), (-6, 5))
    width, height = (max(values) - min(values) or 1.0 for values in ([p.x for p in runs], [p.y for p in runs]))
    for index, point in enumerate(runs):
        near = sum(abs(p.x - point.x) < 0.05 * width and abs(p.y - point.y) < 0.06 * height for p in runs[:index])
        offset = corners[near % len(corners)]  # numbers of points that touch go to different corners
        colour = ACCENT if point.front else INK if point.baseline else SOFT
        _marker(axes, point.x, point.y, "D" if point.baseline else "o", colour)
        axes.annotate(
            point.number,
            (point.x, point.y),
            xytext=offset,
            textcoords="offset points",
            ha="left" if offset[0] > 0 else "right",
            color=colour,
            fontsize=9,
        )
    axes.margins(0.1, 0.14)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)


def _marker(axes: Axes, x: float, y: float, shape: str, colour: str) -> None:
    axes.plot([x], [y], marker=shape, markersize=8, color=colour, markeredgecolor=PAPER, markeredgewidth=1.2, ls="")

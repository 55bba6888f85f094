"""SVG that takes its colours and its font from the page.

matplotlib draws with placeholder colours; they are exchanged for CSS variables, so one file serves light, dark and paper. Text
stays text. Nothing in the output depends on the clock or on chance, and no global state of matplotlib is touched for good.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fastwhisper_compress.report.format import tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Placeholder colour -> CSS variable of templates/style.css. The placeholders appear nowhere else.
INK, SOFT, RULE, PAPER, ACCENT, GOOD, BAD = "#0a0101", "#0a0102", "#0a0103", "#0a0104", "#0a0105", "#0a0106", "#0a0107"
PRECISION_COLOURS = {"fp32": "#0a0111", "fp16": "#0a0112", "int8": "#0a0113", "int4": "#0a0114"}
OTHER = "#0a0115"
_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    RULE: "rule",
    PAPER: "paper",
    ACCENT: "accent",
    GOOD: "good",
    BAD: "bad",
    **{colour: name for name, colour in PRECISION_COLOURS.items()},
    OTHER: "other",
}
WIDE, NARROW = 7.6, 3.7  # inches: a desktop column and a phone


@dataclass(frozen=True)
class Plot:
    """One figure drawn for two widths, with the words that stand for it where it cannot be seen."""

    wide: Markup
    narrow: Markup
    label: str


def new_axes(figure: Figure, size: tuple[float, float]) -> Axes:
    """Return the only axes of a figure of so many inches."""
    figure.set_size_inches(*size)
    return dress(figure.add_subplot())


def dress(axes: Axes) -> Axes:
    """Give axes the look that all figures share: two spines, a faint grid, small grey numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.grid(visible=True, color=RULE, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=RULE, labelcolor=SOFT, labelsize=8.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(SOFT)
        axis.label.set_fontsize(9)
        axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(lambda value, _: tick(value))
    return axes


def plot(slug: str, label: str, draw: Callable[[Figure, bool], None]) -> Plot:
    """Draw a figure for both widths; ``draw`` is given the empty figure and whether it is the narrow one."""
    return Plot(_render(f"{slug}-wide", draw, narrow=False), _render(f"{slug}-narrow", draw, narrow=True), label)


def _render(slug: str, draw: Callable[[Figure, bool], None], *, narrow: bool) -> Markup:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": slug,
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "text.parse_math": False,
    }
    buffer = io.StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page's own fonts draw the text, not matplotlib's
        figure = Figure(layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure, narrow)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), slug)


def _inline(svg: str, slug: str) -> Markup:
    """Turn a stand-alone SVG into one that lives in a page: no prolog, no metadata, own ids only, colours from CSS."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]+)"', svg)
    svg = re.sub(
        r"<svg[^>]*>", f'<svg viewBox="{view[1] if view else ""}" aria-hidden="true" focusable="false">', svg, count=1
    )
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{slug}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{slug}-", svg)
    svg = svg.replace("xlink:href", "href")
    svg = svg.replace("'DejaVu Sans'", "var(--sans)")
    for colour, name in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(re.sub(r"\n\s*", "\n", svg).strip())  # noqa: S704 -- matplotlib escapes text

"""report.html: one file, no script, no request, readable on a phone, in the dark and on paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from fastwhisper_compress.report.judge import HARMFUL_LOSS_PP, SYNTHETIC
from fastwhisper_compress.report.text import neutralise

if TYPE_CHECKING:
    from jinja2 import Environment

    from fastwhisper_compress.report.model import Results
    from fastwhisper_compress.report.view import View

TEMPLATES = Path(__file__).parent / "templates"


def _finalize(value: object) -> object:
    """Neutralise every text that a template prints, unless we made it; escaping follows by autoescape."""
    return neutralise(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def unbroken(text: str) -> str:
    """Keep a number and its unit on one line."""
    return re.sub(r"(?<=\d) (?=(?:%|MB|kB|pp|dB|s)(?!\w))", "\N{NO-BREAK SPACE}", text)


def environment() -> Environment:
    """The HTML templates: escaping always on, an undefined name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["unbroken"] = unbroken
    return env


def render_html(view: View, results: Results) -> str:
    """Return the whole page."""
    from fastwhisper_compress.report.memory_plot import memory_timeline
    from fastwhisper_compress.report.plots import tradeoff, weight_bars
    from fastwhisper_compress.report.throughput_plot import throughput_plot
    from fastwhisper_compress.report.training import training_plot

    delta = results.delta
    whiskers = (
        f"whiskers are the 95 % interval by {delta.unit}"
        if delta.ci95_pp
        else f"there is no interval by {delta.unit} to draw"
    )
    if delta.ci95_by_speaker_pp:
        whiskers += ", thin ones that by speaker"
    caption = (
        f"Cost against saving: {results.candidate.eval.metric.upper()} change (zero is FP32, higher is worse) over the share of disk "
        f"space and of peak memory saved; {whiskers}. From {HARMFUL_LOSS_PP:g} pp on, a loss counts as harmful."
    )
    if results.suite.synthetic:
        caption += f" Measured on {SYNTHETIC}."
    return (
        environment()
        .get_template("report.html")
        .render(
            view=view,
            tradeoff=tradeoff(results),
            weights=weight_bars(results),
            timeline=memory_timeline(results),
            training=training_plot(results),
            throughput=throughput_plot(results),
            tradeoff_caption=caption,
        )
    )

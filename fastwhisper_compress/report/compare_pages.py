"""The comparison as a page and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastwhisper_compress.report import html, markdown
from fastwhisper_compress.report.format import count, interval, megabytes, number, percent, points
from fastwhisper_compress.report.judge import SYNTHETIC, Mark
from fastwhisper_compress.report.pareto import AXES
from fastwhisper_compress.report.plots import Point, pareto
from fastwhisper_compress.report.table import Table

ON_FRONT = "\N{BLACK CIRCLE}"


@dataclass(frozen=True)
class CompareView:
    """What the comparison page says."""

    title: str
    subtitle: str
    summary: str
    marks: tuple[Mark, ...]
    notes: tuple[str, ...]
    table: Table
    row_classes: tuple[str, ...]
    sources: Table
    synthetic: str


def build_view(data: dict[str, Any]) -> CompareView:
    """Format the comparison."""
    runs, fronts, suite = data["runs"], data["fronts"], data["suite"]
    metric = data["metric"].upper()
    synthetic = SYNTHETIC if suite["synthetic"] else ""
    every = set(fronts["size"]) | set(fronts["rss"]) | set(fronts["rtfx"])
    rows = tuple(_table_row(index, run, fronts) for index, run in enumerate(runs))
    classes = tuple(
        "aside" if not run["comparable"] else "front" if i in every else "plain" for i, run in enumerate(runs)
    )
    head = ("No.", "Recipe", "Model", metric, "Change", "95 % interval", "On disk", "Weights", "Peak RSS", "RTFx")
    candidates = [run for run in runs if not run["baseline"]]
    found = [Mark(SYNTHETIC, "warn")] if synthetic else []
    if any(not run["comparable"] for run in runs):
        found.insert(0, Mark("some runs not comparable", "bad"))
    return CompareView(
        title=f"{count(len(candidates), 'run')} compared on {suite['name']}",
        subtitle=f"{count(suite['n_utterances'], 'utterance')}, {suite['language']}"
        + (f", {synthetic}" if synthetic else ""),
        summary=_summary(runs, metric),
        marks=tuple(found),
        notes=tuple(data["notes"]),
        table=Table(
            "All runs, best error rate first" + (f" ({synthetic})" if synthetic else ""),
            head,
            rows,
            n_labels=3,
            note=f"{ON_FRONT} marks the Pareto front of error rate and that cost: no other run has both lower. The front is drawn "
            "from point values; two runs whose intervals overlap may trade places on other speech.",
        ),
        row_classes=classes,
        sources=Table("Where the figures come from", ("No.", "Results", "Provider"), _source_rows(runs), n_labels=3),
        synthetic=synthetic,
    )


def _table_row(index: int, run: dict[str, Any], fronts: dict[str, list[int]]) -> tuple[str, ...]:
    def cost(key: str, text: str) -> str:
        return f"{ON_FRONT} {text}" if index in fronts[key] else text

    name = f"{run['recipe']} (baseline)" if run["baseline"] else run["recipe"]
    if not run["comparable"]:
        name += f" (not comparable: {run['not_comparable_because'] or 'reason not given'})"
    return (
        number(index + 1),
        name,
        run["model"],
        percent(run["wer"]),
        "" if run["wer_delta_pp"] is None else points(run["wer_delta_pp"]),
        "" if run["baseline"] else interval(run["ci95_pp"]),
        cost("size", megabytes(run["size_on_disk_bytes"])),
        megabytes(run["weight_bytes"]),
        cost("rss", megabytes(run["peak_rss_bytes"])),
        cost("rtfx", number(run["rtfx"], 1)),
    )


def _source_rows(runs: list[dict[str, Any]]) -> tuple[tuple[str, ...], ...]:
    return tuple((number(index + 1), run["path"], run["provider"]) for index, run in enumerate(runs))


def _summary(runs: list[dict[str, Any]], metric: str) -> str:
    able = [run for run in runs if run["comparable"]]
    if not able:
        return "None of these runs is comparable, so there is no front."

    def name(run: dict[str, Any]) -> str:
        return f"{run['recipe']} of {run['model']}"

    smallest = min(able, key=lambda run: (run["size_on_disk_bytes"], run["wer"]))
    lightest = min(able, key=lambda run: (run["peak_rss_bytes"], run["wer"]))
    fastest = max(able, key=lambda run: (run["rtfx"], -run["wer"]))
    best = min(able, key=lambda run: (run["wer"], run["size_on_disk_bytes"]))
    return (
        f"Lowest {metric} is {percent(best['wer'])} with {name(best)}; smallest on disk is {name(smallest)} with "
        f"{megabytes(smallest['size_on_disk_bytes'])} at {percent(smallest['wer'])}; least memory at run time takes {name(lightest)} with "
        f"{megabytes(lightest['peak_rss_bytes'])} at {percent(lightest['wer'])}; fastest is {name(fastest)} with RTFx "
        f"{number(fastest['rtfx'], 1)} at {percent(fastest['wer'])}."
    )


def compare_html(view: CompareView, data: dict[str, Any]) -> str:
    """Return report.html of a comparison."""
    metric = f"{data['metric'].upper()}, %"
    figures = []
    for axis in AXES:
        points = [
            Point(
                str(i + 1),
                run[axis.field] * axis.scale,
                100 * run["wer"],
                i in data["fronts"][axis.key],
                run["baseline"],
            )
            for i, run in enumerate(data["runs"])
            if run["comparable"]
        ]
        if points:
            plot = pareto(f"pareto-{axis.key}", points, axis.name, metric, more_is_better=axis.more_is_better)
            figures.append((plot, _caption(axis.name, data)))
    return html.environment().get_template("compare.html").render(view=view, figures=figures)


def compare_markdown(view: CompareView) -> str:
    """Return report.md of a comparison."""
    return markdown.environment().get_template("compare.md").render(view=view)


def _caption(name: str, data: dict[str, Any]) -> str:
    text = f"{data['metric'].upper()} against {name}; numbers as in the table, diamonds are FP32 baselines, the line is the Pareto front."
    return f"{text} Measured on synthetic speech." if data["suite"]["synthetic"] else text

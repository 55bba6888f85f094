from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from report_builders import results_json

from fastwhisper_compress.report import Results
from fastwhisper_compress.report.plots import Point, pareto, tradeoff, weight_bars


def build(**changes):
    return Results.from_json(results_json(**changes))


def draw(name):
    points = [Point("1", 50.0, 10.0, front=True, baseline=False), Point("2", 90.0, 9.0, front=True, baseline=True)]
    return {
        "tradeoff": lambda: tradeoff(build()),
        "weights": lambda: weight_bars(build()),
        "pareto": lambda: pareto("pareto-size", points, "size on disk, MB", "WER, %", more_is_better=False),
    }[name]()


@pytest.mark.parametrize("name", ["tradeoff", "weights", "pareto"])
def test_colours_and_fonts_come_from_the_page(name):
    plot = draw(name)
    for svg in (plot.wide, plot.narrow):
        ET.fromstring(svg)  # well-formed without the namespaces that inline SVG does not need
        literal = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg)) - {"#ffffff", "#000000"}
        assert literal == set()
        assert "var(--ink)" in svg or "var(--soft)" in svg
        assert "DejaVu" not in svg
        assert "http" not in svg
        assert "<style" not in svg
        used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
        assert used == set(re.findall(r'\bid="([^"]+)"', svg))


def test_the_two_widths_share_no_ids():
    plot = tradeoff(build())
    assert set(re.findall(r'\bid="([^"]+)"', plot.wide)).isdisjoint(re.findall(r'\bid="([^"]+)"', plot.narrow))


def test_axis_numbers_are_never_rounded_to_a_lie():
    points = [Point(str(i), 7.0 + 0.4 * i, 10.0 - 0.01 * i, front=True, baseline=False) for i in range(5)]
    svg = pareto("p", points, "RTFx", "WER, %", more_is_better=True).wide
    labels = re.findall(r">(\d[\d.]*)</text>", svg)
    assert len(labels) > 8
    ticks = [label for label in labels if label not in {point.number for point in points}]
    assert len(ticks) == len(set(ticks))


def test_hostile_precision_names_are_escaped():
    svg = weight_bars(build(candidate__memory__weight_bytes_by_precision={"<b>$x$": 60_000_000})).wide
    assert "<b>" not in svg
    assert "&lt;b&gt;$x$" in svg


def test_pyplot_and_global_settings_are_left_alone():
    code = (
        "import sys, matplotlib as m\n"
        "def settings(): return {k: m.rcParams[k] for k in m.rcParams if k != 'backend'}  # reading that imports pyplot\n"
        "before = settings()\n"
        "from fastwhisper_compress.report.plots import Point, pareto\n"
        "pareto('p', [Point('1', 1.0, 2.0, True, False)], 'x', 'y', more_is_better=False)\n"
        "assert settings() == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_starts_without_matplotlib_jinja_or_what_evaluates():
    code = (
        "import sys, fastwhisper_compress.report, fastwhisper_compress.report.compare\n"
        "heavy = {'matplotlib', 'jinja2', 'torch', 'jiwer', 'scipy', 'onnxruntime', 'soundfile'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

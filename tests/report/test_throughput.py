"""The sweep over batch sizes as the report tells and draws it."""

from __future__ import annotations

import re

from report_builders import rendered, results_json, sweep

from fastwhisper_compress.report import Results
from fastwhisper_compress.report.throughput import throughput_table
from fastwhisper_compress.report.throughput_plot import throughput_plot
from fastwhisper_compress.report.view import reproduce

TIMES = "\N{MULTIPLICATION SIGN}"


def build(**changes):
    return Results.from_json(results_json(throughput=sweep(**changes)))


def test_each_size_stands_beside_batch_1():
    found = throughput_table(build(), "synthetic speech")
    assert "(synthetic speech)" in found.caption
    assert found.rows == (
        ("1", "20.0", f"1.00{TIMES}", "150.0 MB", f"1.00{TIMES}", "32 of 32"),
        ("2", "30.0", f"1.50{TIMES}", "175.0 MB", f"1.17{TIMES}", "31 of 32"),
        ("4, recovered to 2", "31.0", f"1.55{TIMES}", "190.0 MB", f"1.27{TIMES}", "29 of 32"),
    )
    assert "the same 32 clips (171.2 s of audio), 2 threads" in found.note


def test_a_size_that_could_not_be_measured_is_told_and_not_drawn():
    results = build(failed="killed")
    found = throughput_table(results, "")
    assert set(found.rows[-1][1:]) == {"\N{EN DASH}"}
    assert "Batch 4 could not be measured: killed." in found.note
    assert "batch 4" not in throughput_plot(results).label
    assert len(re.findall(r">4</text>", throughput_plot(results).wide)) == 2  # its place on both axes stays


def test_video_memory_has_its_column_and_its_line():
    results = build(video=True)
    assert "300.0 MB" in throughput_table(results, "").rows[0]
    assert ">VRAM</text>" in throughput_plot(results).wide
    assert ">VRAM</text>" not in throughput_plot(build()).wide


def test_the_values_are_written_in_the_figure_and_in_its_words():
    plot = throughput_plot(build())
    for drawn in (plot.wide, plot.narrow):
        assert all(f">{value}</text>" in drawn for value in ("20.0", "31.0", "150", "190"))
    assert "batch 2: RTFx 30.0, peak RSS 175.0 MB" in plot.label


def test_the_section_is_there_where_there_was_a_sweep(tmp_path):
    rendered(tmp_path / "with", throughput=sweep())
    rendered(tmp_path / "without")
    for name in ("report.html", "report.md"):
        told = [(tmp_path / folder / name).read_text(encoding="utf-8") for folder in ("with", "without")]
        assert ["Throughput and memory by batch size" in text for text in told] == [True, False]
    assert reproduce(build()).endswith(" --batch-sweep 1,2,4")

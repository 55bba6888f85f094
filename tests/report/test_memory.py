from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from report_builders import rendered, results_json, trace
from report_reading import tables

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.report import Results
from fastwhisper_compress.report.format import NONE
from fastwhisper_compress.report.memory_plot import memory_timeline
from fastwhisper_compress.report.memory_tables import memory_section

NO_TRACES = {"baseline__memory__trace": None, "candidate__memory__trace": None}


def build(**changes):
    return Results.from_json(results_json(**changes))


def rows(table):
    return {row[0]: row[1:] for row in table.rows}


def test_phases_stand_in_the_order_of_a_clip_with_their_own_figures():
    table = memory_section(build()).phases
    assert [row[0] for row in table.rows] == ["imports", "load", "log-mel", "encode", "prefill", "decode", "idle"]
    found = rows(table)
    assert found["prefill"] == ("431.7 MB", "318.2 MB", "26.3 % less", "350.5 MB", "236.9 MB", "2.75 s", "2.75 s")
    assert found["load"][:2] == ("371.7 MB", "258.2 MB")
    assert found["imports"] == ("81.3 MB", "81.3 MB", NONE, NONE, NONE, "0.25 s", "0.25 s")


def test_what_memory_is_made_of():
    found = rows(memory_section(build()).held)
    assert list(found.values()) == [
        ("40.0 MB", "40.0 MB"),
        ("331.2 MB", "217.7 MB"),
        ("40.0 MB", "40.0 MB"),
        ("341.2 MB", "227.7 MB"),
        ("43.1 MB", "43.1 MB"),
        ("1.0 MB", "1.0 MB"),
    ]


def test_gpu_memory_and_torch_have_their_place():
    gpu = trace(318_214_144)
    for one in gpu["phases"]:
        one["peak_vram_bytes"] = 700_000_000
    gpu["timeline_vram_bytes"] = [700_000_000] * len(gpu["timeline"])
    gpu["fragmentation"]["torch"] = {"held_bytes": 100, "unused_bytes": 9_000_000, "peak_allocated_bytes": 90}
    results = build(candidate__memory__trace=gpu)
    section = memory_section(results)
    assert section.phases.head[-2:] == ("Peak VRAM, FP32", "Candidate")
    assert rows(section.phases)["encode"][-2:] == (NONE, "700.0 MB")
    assert list(rows(section.held).values())[-1] == (NONE, "9.0 MB")
    assert "VRAM" in memory_timeline(results).wide


def test_without_a_trace_there_is_no_section(tmp_path):
    results = build(**NO_TRACES)
    assert memory_section(results) is None
    assert memory_timeline(results) is None
    rendered(tmp_path, **NO_TRACES)
    for name in ("report.html", "report.md"):
        assert "Memory over time" not in (tmp_path / name).read_text(encoding="utf-8")


def test_one_trace_alone_is_shown(tmp_path):
    results = rendered(tmp_path, baseline__memory__trace=None)
    assert rows(memory_section(results).phases)["encode"][:3] == (NONE, "316.2 MB", NONE)
    assert "FP32" not in memory_timeline(results).label
    assert "Memory over time" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_both_methods_are_named_where_they_differ_and_a_resumed_run_is_told():
    sampled = trace(318_214_144) | {"method": "sampled every 10 ms"}
    text = memory_section(build(candidate__memory__trace=sampled, candidate__eval__resumed_rows=3)).method
    assert "FP32: kernel high-water mark, candidate: sampled every 10 ms" in text
    assert "remaining utterances only" in text
    assert "remaining" not in memory_section(build()).method


def test_the_figure_says_in_words_where_the_peak_is_and_marks_it():
    plot = memory_timeline(build())
    assert "FP32 is highest at 431.7 MB in prefill, 1.10 s after the start" in plot.label
    assert "Candidate is highest at 318.2 MB in prefill" in plot.label
    for svg in (plot.wide, plot.narrow):
        ET.fromstring(svg)
        assert "431.7 MB in prefill" in svg
        for colour in ("--fp32", "--other", "--ink", "--fp16", "--int4", "--int8", "--rule"):
            assert f"var({colour})" in svg  # one a phase


def test_only_the_detailed_part_is_drawn():
    long = trace(431_726_592)
    long["timeline"] += [[100.0, 900_000_000, 6]]
    assert "431.7 MB" in memory_timeline(build(baseline__memory__trace=long)).label


def test_prediction_stands_beside_measurement(tmp_path):
    predicted = {"phases": {"encode": 400_000_000, "load": 371_726_592}, "parts": {"weights": 151_000_000}}
    results = rendered(tmp_path, baseline__memory__predicted=predicted)
    section = memory_section(results)
    assert rows(section.predicted) == {
        "load": ("371.7 MB", "371.7 MB", "0.0 %", NONE, "258.2 MB", NONE),
        "encode": ("400.0 MB", "429.7 MB", "\N{MINUS SIGN}6.9 %", NONE, "316.2 MB", NONE),
    }
    assert (
        section.predicted.note
        == "Of weights, caches and activations alone, without the runtime, the largest error is 8.5 %."
    )
    assert rows(section.parts) == {"weights": ("151.0 MB", NONE)}
    heads = [table[0] for table in tables((tmp_path / "report.md").read_text(encoding="utf-8"))]
    assert ["Phase", "FP32, predicted", "Measured", "Error", "Candidate, predicted", "Measured", "Error"] in heads
    assert memory_section(build()).predicted is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timeline": [[0.0, 5, 7]]}, "names a phase"),
        ({"timeline_vram_bytes": [1]}, "not as long"),
        ({"phases": [{"phase": "load"}]}, "required"),
    ],
)
def test_a_trace_that_does_not_fit_together_is_refused(changes, words):
    with pytest.raises(UsageError, match=words) as caught:
        build(candidate__memory__trace=trace(318_214_144) | changes)
    assert "candidate.memory.trace" in caught.value.place

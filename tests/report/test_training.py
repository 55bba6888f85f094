"""What was learnt, as the report tells and draws it."""

from __future__ import annotations

from report_builders import rendered, results_json, training

from fastwhisper_compress.report import Results
from fastwhisper_compress.report.training import training_plot, training_table


def test_a_row_and_a_curve_for_each_training():
    results = Results.from_json(results_json(training=[training(), training("qat", 5)]))
    found = training_table(results)
    assert [row[0] for row in found.rows] == ["distill", "qat"]
    assert found.rows[0][1:3] == ("30", "64")
    assert found.rows[0][4:6] == ("1.8448", "1.1552")
    plot = training_plot(results)
    assert "distill: loss 1.8448 at first, 1.1552 at last; qat: loss 1.5000 at first" in plot.label
    for name in ("loss, distill", "loss, qat"):
        assert f">{name}</text>" in plot.wide
    assert training_table(Results.from_json(results_json())) is None
    assert training_plot(Results.from_json(results_json())) is None


def test_the_section_is_there_where_something_was_learnt(tmp_path):
    rendered(tmp_path / "with", training=[training()])
    rendered(tmp_path / "without")
    for name in ("report.html", "report.md"):
        told = [(tmp_path / folder / name).read_text(encoding="utf-8") for folder in ("with", "without")]
        assert ["from the text and the activations of their teacher" in text for text in told] == [True, False]

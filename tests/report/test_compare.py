from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_builders import results_json
from report_reading import check_safe, tables

from fastwhisper_compress.errors import OutputError, UsageError
from fastwhisper_compress.report import Results, verdict
from fastwhisper_compress.report.compare import compare
from fastwhisper_compress.report.pareto import pareto_front

COST = st.integers(0, 12).map(float)


@pytest.fixture
def save(tmp_path):
    def write(name, **changes):
        data = results_json(**changes)
        data["verdict"] = verdict(Results.from_json(data))
        folder = tmp_path / name
        folder.mkdir()
        Results.from_json(data).save(folder)
        return folder

    return write


def three(save):
    return [
        save("a"),
        save(
            "b",
            recipe__name="int4",
            candidate__recipe="int4",
            candidate__eval__wer=0.14,
            candidate__artifact__size_on_disk_bytes=33_000_000,
            candidate__eval__rtfx=12.0,
        ),
        save(
            "c",
            recipe__name="prune",
            candidate__recipe="prune",
            candidate__eval__wer=0.15,
            candidate__artifact__size_on_disk_bytes=60_000_000,
            candidate__eval__rtfx=11.0,
        ),
    ]


@given(st.lists(st.tuples(COST, COST), max_size=30))
def test_the_front_is_exactly_what_nothing_beats(points):
    def beats(p, q):
        return p[0] <= q[0] and p[1] <= q[1] and p != q

    expected = [i for i, q in enumerate(points) if not any(beats(p, q) for p in points)]
    assert pareto_front(points) == expected


def test_runs_are_sorted_and_the_front_is_marked(save, tmp_path):
    data = compare(three(save), tmp_path / "out")
    assert [run["recipe"] for run in data["runs"]] == ["fp32", "int8_attn_fp16", "int4", "prune"]
    assert [run["baseline"] for run in data["runs"]] == [True, False, False, False]
    assert data["fronts"] == {"size": [0, 1, 2], "rss": [0, 1], "rtfx": [0, 1]}
    assert json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8")) == json.loads(json.dumps(data))
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    rows = tables(text)[0][2:]
    assert [cells[1] for cells in rows] == ["fp32 (baseline)", "int8_attn_fp16", "int4", "prune"]
    assert rows[2][6] == "● 33.0 MB"
    assert rows[3][6] == "60.0 MB"
    assert rows[1][3:6] == ["11.02 %", "+0.73 pp", "+0.05 to +1.52 pp"]
    check_safe((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))


def test_only_the_name_of_a_folder_is_kept(save, tmp_path, monkeypatch):
    folders = three(save)
    monkeypatch.chdir(folders[0])
    data = compare([Path(), folders[1] / "results.json", folders[2]], tmp_path / "out")
    assert {run["recipe"]: run["path"] for run in data["runs"] if not run["baseline"]} == {
        "int8_attn_fp16": "a",
        "int4": "b",
        "prune": "c",
    }
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path) not in file.read_text(encoding="utf-8")


def test_two_models_bring_two_baselines(save, tmp_path):
    base = save("base", model__id="openai/whisper-base.en", model__digest="sha256:base", baseline__eval__wer=0.07)
    data = compare([save("tiny"), base], tmp_path / "out")
    assert sum(run["baseline"] for run in data["runs"]) == 2
    assert {run["model"] for run in data["runs"]} == {"openai/whisper-base.en", "openai/whisper-tiny.en"}


@pytest.mark.parametrize(
    "changes",
    [
        {"suite__name": "librispeech_clean"},
        {"suite__digest": "sha256:other"},
        {"suite__language": "de"},
        {"candidate__eval__metric": "cer"},
        {"suite__name": "librispeech_clean", "suite__limit": 5, "comparable": False},
    ],
)
def test_different_suites_are_refused(save, tmp_path, changes):
    with pytest.raises(UsageError, match="different suites") as caught:
        compare([save("a"), save("b", **changes)], tmp_path / "out")
    assert caught.value.place.startswith(str(tmp_path / "b"))
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_limited_runs_are_listed_last_and_on_no_front(save, tmp_path):
    limited = save(
        "short",
        suite__limit=10,
        suite__digest="sha256:first ten",
        comparable=False,
        not_comparable_because="--limit 10",
        candidate__eval__wer=0.001,
        candidate__artifact__size_on_disk_bytes=1_000,
    )
    data = compare([limited, *three(save)], tmp_path / "out")
    assert data["runs"][-1]["not_comparable_because"] == "--limit 10"
    assert all(len(data["runs"]) - 1 not in front for front in data["fronts"].values())
    assert sum(run["baseline"] for run in data["runs"]) == 1
    assert data["runs"][0]["comparable"]
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "(not comparable: --limit 10)" in text
    assert "1 run limited" in text


def test_nothing_but_limited_runs(save, tmp_path):
    changes = {"suite__limit": 10, "comparable": False, "not_comparable_because": "--limit 10"}
    data = compare([save("a", **changes), save("b", recipe__name="other", **changes)], tmp_path / "out")
    assert data["fronts"] == {"size": [], "rss": [], "rtfx": []}
    assert "there is no front" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    check_safe((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))


def test_differences_between_machines_are_noted(save, tmp_path):
    other = save("b", environment__cpu="Apple M3", candidate__eval__threads=8, recipe__provider="cuda")
    notes = " ".join(compare([save("a"), other], tmp_path / "out")["notes"])
    for word in ("machines", "threads", "providers"):
        assert word in notes


def test_no_runs_and_the_same_run_twice(save, tmp_path):
    with pytest.raises(UsageError, match="no runs"):
        compare([], tmp_path / "out")
    run = save("a")
    with pytest.raises(UsageError, match="named twice"):
        compare([run, run / "results.json"], tmp_path / "out")


def test_a_run_folder_is_not_written_over(save, tmp_path):
    runs = three(save)
    before = {path.name: path.read_bytes() for path in runs[0].iterdir()}
    with pytest.raises(OutputError, match="no comparison"):
        compare(runs, runs[0])
    assert {path.name: path.read_bytes() for path in runs[0].iterdir()} == before


def test_an_earlier_comparison_is_replaced(save, tmp_path):
    runs = three(save)
    compare(runs[:2], tmp_path / "out")
    assert len(compare(runs, tmp_path / "out")["runs"]) == 4


def test_hostile_names_stay_text(save, tmp_path):
    attack = "<script>x</script>|`a`\u202e\n# h"
    runs = [save("a", candidate__recipe=attack, model__id=attack, suite__name=attack), save("b", suite__name=attack)]
    compare(runs, tmp_path / "out")
    parsed = check_safe((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "<script>x</script>" in parsed.text
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    for table in tables(text):
        assert {len(cells) for cells in table} == {len(table[0])}


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_is_marked(save, tmp_path, synthetic):
    compare([save("a", suite__synthetic=synthetic)], tmp_path / "out")
    for file in ("report.html", "report.md"):
        text = (tmp_path / "out" / file).read_text(encoding="utf-8")
        assert ("synthetic speech" in text) is synthetic
    assert not re.search(r"\d+ runs? limited", text)

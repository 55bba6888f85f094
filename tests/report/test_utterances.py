from __future__ import annotations

import json
import re

import pytest
from report_builders import row, rows_pair, split_align

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.report.utterances import paired, read_rows, to_rows, worst_utterances


def worst(baseline, candidate, **options):
    options = {"language": "en", "align": split_align} | options
    pairs = paired(to_rows(baseline), to_rows(candidate), options["language"])
    return worst_utterances(pairs, **options)


def test_the_largest_increase_comes_first():
    baseline, candidate = rows_pair(60)
    found = worst(baseline, candidate)
    numbers = [re.match(r"errors (\d+) to (\d+) in", one.change).groups() for one in found.shown]
    gains = [int(after) - int(before) for before, after in numbers]
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == 10
    errors = {r["id"]: r["substitutions"] + r["deletions"] + r["insertions"] for r in baseline}
    all_gains = [r["substitutions"] + r["deletions"] + r["insertions"] - errors[r["id"]] for r in candidate]
    assert gains == sorted(all_gains, reverse=True)[:10]
    assert found.n_worse == sum(gain > 0 for gain in all_gains)
    assert found.n_better == sum(gain < 0 for gain in all_gains) > 0
    assert found.n_worse + found.n_better + found.n_same == 60


def test_rows_are_paired_by_id_whatever_their_order():
    baseline, candidate = rows_pair()
    assert worst(baseline, candidate) == worst(baseline[::-1], candidate[::-1])


def test_rows_without_a_partner_are_left_out():
    found = worst([row("a", "x", "x")], [row("b", "x", "y", (1, 0, 0))])
    assert found.shown == ()
    assert found.n_worse == 0


def test_characters_are_joined_without_spaces():
    pair = [row("a", "北京大学", "北京大学")], [row("a", "北京大学", "北京小学", (1, 0, 0))]
    found = worst(*pair, language="zh", align=lambda r, h: [("equal", list(h), list(h))])
    assert found.shown[0].candidate[0].text == "北京小学"
    assert found.shown[0].change == "errors 0 to 1 in 1 character"


def test_rows_may_be_objects():
    class Record:
        def __init__(self, data):
            self.__dict__.update(data)

    assert to_rows([Record(row("a", "x", "y", (1, 0, 0)))])[0].counts.errors == 1


def test_a_row_that_lacks_something_is_named():
    bad = row("a", "x", "y")
    del bad["reference"]
    with pytest.raises(UsageError, match="reference"):
        to_rows([bad])


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "a"}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row("a", "x\u2028y", "x"), ensure_ascii=False) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_rows(path)
    assert caught.value.place == f"{path}:2"


def test_missing_rows(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_rows(tmp_path / "none.jsonl")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the normaliser's own file handle
def test_the_evaluation_aligns_unless_told_otherwise():
    pair = [row("a", "It's Dr. Smith", "it is doctor smith")], [row("a", "It's Dr. Smith", "it is doctor", (0, 1, 0))]
    found = worst_utterances(paired(to_rows(pair[0]), to_rows(pair[1]), "en"), language="en")
    assert [(part.op, part.text) for part in found.shown[0].candidate] == [("equal", "it is doctor"), ("del", "smith")]

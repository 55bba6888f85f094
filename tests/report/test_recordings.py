"""The section on long recordings: there only for them, safe, and its places lead to their words."""

from __future__ import annotations

import html

import pytest
from report_builders import rendered, results_json, row
from report_reading import check_safe

from fastwhisper_compress.report.format import clock, units
from fastwhisper_compress.report.model import Results
from fastwhisper_compress.report.recordings import recordings_section
from fastwhisper_compress.report.utterances import paired, to_rows

ATTACK = '"><script>alert(1)</script>|`x`**b**\u202egnp.exe\n# h'
SAID = "alpha bravo charlie delta echo foxtrot golf hotel"


def timeline(first, second):
    """Two windows, 0 to 8 s and 65 to 80 s; a word a second."""
    texts = ((0.0, 8.0, first), (65.0, 80.0, second))
    words = [
        {"start_s": start + i, "end_s": start + i + 0.8, "text": f" {word}"}
        for start, _, text in texts
        for i, word in enumerate(text.split())
    ]
    segments = [{"start_s": start, "end_s": end, "text": f" {text}"} for start, end, text in texts]
    return {"windows": [[[0.0, 8.0]], [[65.0, 80.0]]], "segments": segments, "words": words, "gaps": []}


def recordings_rows(name="call-1", invented="so thank you very much"):
    before = row(name, f"{SAID} kilo lima", f"{SAID} kilo lima", timeline=timeline(SAID, "kilo lima"))
    text = f"kilo {invented} lima"
    after = row(name, f"{SAID} kilo lima", f"{SAID} {text}", (0, 0, 5), timeline=timeline(SAID, text))
    return [before], [after]


def figures(**changes):
    found = {
        "n_recordings": 1,
        "n_windows": 2,
        "audio_s": 90.0,
        "gaps_s": 0.0,
        "wall_s": 3.0,
        "rtfx": 30.0,
        "wer": 0.02,
        "n_ref_words": 210,
        "substitutions": 1,
        "deletions": 2,
        "insertions": 3,
        "invented": {"n": 0, "n_words": 0},
        "dropped": {"n": 0, "n_words": 0},
        "unspoken": {"n": 0, "n_words": 0},
        "looped_windows": 0,
        "compressed_windows": 0,
        "places": [],
    }
    return found | changes


def place(**changes):
    found = {"recording": "call-1", "kind": "invented", "start_s": 66.0, "end_s": 70.8, "n_words": 5}
    return found | {"text": "so thank you very much"} | changes


def with_recordings(**changes):
    delta = {
        "wer_delta_pp": 2.38,
        "ci95_pp": [-0.4, 4.9],
        "statement": "",
        "n_units": 2,
        "rtfx_ratio": 1.5,
        "shift": {"n_words": 200, "median_s": 0.02, "p95_s": 0.14, "share_in_place": 0.985, "in_place_s": 0.2},
    }
    after = figures(wer=0.0438, rtfx=45.0, invented={"n": 1, "n_words": 5}, places=[place()])
    return {
        "delta__unit": "window",
        "delta__n_units": 2,
        "delta__recordings": delta,
        "baseline__eval__recordings": figures(),
        "candidate__eval__recordings": after,
    } | changes


def read(out):
    page = (out / "report.html").read_text(encoding="utf-8")
    return check_safe(page), (out / "report.md").read_text(encoding="utf-8")


def section(rows=None, **changes):
    """The section alone: drawing a whole page takes seconds."""
    results = Results.from_json(results_json(**changes))
    pairs = paired(*map(to_rows, rows or recordings_rows()), results.suite.language)
    return recordings_section(results, pairs)


def test_clips_alone_have_no_such_section():
    assert section() is None


def test_the_page_tells_figures_and_what_was_resampled_and_leads_from_places_to_words(tmp_path):
    rendered(tmp_path, recordings_rows(), **with_recordings())
    page = check_safe((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for shown in (html.unescape(page.text).replace("\xa0", " "), text.replace("\\", "")):
        assert "Long recordings" in shown
        assert "a window is what was resampled" in shown
        assert "paired by window" in shown
        assert "Windows that lost most" in shown
        for value in ("2.00 %", "4.38 %", "+2.38 pp", "+4.90 pp", "1, 5", "30.0", "45.0", "0.02 s", "98.5 %"):
            assert value in shown
        # windows take the place of the recording among what lost most
        assert "Of 2 windows, 1 have more errors than under FP32" in shown
        assert "errors 0 to 5 in 2 words" in shown
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a" and attributes["href"].startswith("#w")]
    assert links == ["#window-1"]
    (article,) = [attributes for tag, attributes in page.tags if attributes.get("id") == "window-1"]
    assert article["class"] == "utterance"
    assert "1:06.0" in page.text
    assert "1:05.0 to 1:20.0" in page.text
    assert "so thank you very much" in text


def test_hostile_names_and_texts_stay_text(tmp_path):
    bad = [place(recording=ATTACK, text=ATTACK, kind=kind) for kind in ("invented", "dropped", "unspoken", "looped")]
    rows = recordings_rows(name=ATTACK, invented=ATTACK.replace("\n", " "))
    rendered(tmp_path, rows, **with_recordings(candidate__eval__recordings=figures(places=bad)))
    check_safe((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate__eval__recordings": figures(wer=None, unspoken=None, gaps_s=3.5)},
        {"delta__recordings__shift": None, "delta__recordings__wer_delta_pp": None, "delta__recordings__ci95_pp": None},
        {"delta__unit": "utterance or window", "suite__synthetic": False},
        {"candidate__eval__metric": "cer", "baseline__eval__metric": "cer", "suite__language": "zh"},
    ],
)
def test_what_is_not_known_is_left_out_or_said(changes):
    found = section(**(with_recordings() | changes))
    cells = [cell for table in (found.figures, found.shift) for one in table.rows for cell in one]
    assert "None" not in cells
    assert "nan" not in cells


def test_a_place_outside_of_every_window_leads_nowhere():
    places = [place(recording="unknown"), place()]
    found = section(**with_recordings(candidate__eval__recordings=figures(places=places)))
    assert [one.window for one in found.places] == [None, 1]
    assert [one.span for one in found.windows] == ["1:05.0 to 1:20.0"]


def test_round_trip():
    results = Results.from_json(results_json(**with_recordings()))
    assert Results.from_json(results.to_json()) == results


def test_times_read_as_a_clock():
    assert [clock(s) for s in (0, 59.96, 125.34, 3725.3)] == ["0:00.0", "1:00.0", "2:05.3", "1:02:05.3"]


def test_units_are_counted_by_their_name():
    assert [units(1, "window"), units(3, "window")] == ["1 window", "3 windows"]
    assert units(3, "utterance or window") == "3 utterances or windows"

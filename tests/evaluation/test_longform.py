"""Counts and times on recordings small enough to be counted by hand."""

from __future__ import annotations

import pytest

from fastwhisper_compress.evaluation import wer
from fastwhisper_compress.evaluation.aligned import aligned
from fastwhisper_compress.evaluation.longform import places
from fastwhisper_compress.evaluation.loops import window_texts
from fastwhisper_compress.evaluation.measure import Evaluation, Row, compare
from fastwhisper_compress.evaluation.shift import start_shifts_s, summary
from fastwhisper_compress.evaluation.stretches import span_s, stretches
from fastwhisper_compress.evaluation.timeline import TimedText, Timeline, timed_units
from fastwhisper_compress.evaluation.units import paired_units, unit_name
from fastwhisper_compress.evaluation.unspoken import unspoken

FIVE = "alpha bravo charlie delta echo"
MORE = "foxtrot golf hotel india juliet"


def recording(windows, reference, *, name="r", timed=True, shift_s=0.0, looped=False):
    """A row of windows, each ``(start, end, text)`` or ``(pieces, text)``; a word a second from the start of its piece."""
    spans, segments, words = [], [], []
    for *where, text in windows:
        pieces = [tuple(where)] if len(where) == 2 else where[0]
        texts = [text] if len(pieces) == 1 else text
        spans.append(tuple(pieces))
        for (start, end), part in zip(pieces, texts, strict=True):
            segments.append(TimedText(start, end, " " + part))
            words += [
                TimedText(start + i + shift_s, start + i + 0.8 + shift_s, " " + word)
                for i, word in enumerate(part.split())
            ]
    text = "".join(one.text for one in segments).strip()
    counts = wer.score([(reference, text)], "en")[0]
    timeline = Timeline(tuple(spans), tuple(segments), tuple(words) if timed else ())
    return Row(
        id=name,
        text=text,
        tokens=(),
        looped=looped,
        redone=False,
        audio_s=60.0,
        wall_s=2.0,
        error=None,
        reference=reference,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        n_ref_words=counts.n_ref_words,
        speaker=None,
        timeline=timeline,
    )


def found(windows, reference, **changes):
    return aligned(recording(windows, reference, **changes), "en")


def evaluation(*rows):
    process = {"load_s": 0.1, "peak_rss_bytes": 100, "rss_after_load_bytes": 90, "rss_imports_bytes": 50}
    process |= {"peak_vram_bytes": None, "trace": None, "batch_size": 1, "batch_size_used": 1, "recoveries": []}
    return Evaluation("sha256:0", "en", 1, tuple(rows), process)


def test_words_keep_their_time_through_the_normaliser():
    pieces = [
        TimedText(i, i + 1, word) for i, word in enumerate([" Twenty", " three", " don't", " [noise]", " colour."])
    ]
    text = "".join(piece.text for piece in pieces)
    units = timed_units(text, pieces, "en")
    assert [one.text for one in units] == wer.normalise(text, "en").split() == ["23", "do", "not", "color"]
    assert [one.start_s for one in units][1:] == [2, 2, 4]
    assert units[0].start_s in (0, 1)


def test_characters_keep_the_time_of_their_word():
    pieces = [TimedText(0, 1, "你好"), TimedText(1, 2, "世界。")]
    assert [(one.text, one.start_s) for one in timed_units("你好世界。", pieces, "zh")] == [
        ("你", 0),
        ("好", 0),
        ("世", 1),
        ("界", 1),
    ]


def test_text_without_pieces_has_no_times():
    assert timed_units("", [], "en") == ()


def test_a_run_of_words_nobody_said_is_invented():
    one = found([(0, 30, f"{FIVE} so thank you very much {MORE}")], f"{FIVE} {MORE}")
    (stretch,) = stretches(one)
    assert (stretch.kind, stretch.n_units) == ("invented", 5)
    assert one.text(*stretch.hyp) == "so thank you very much"
    assert span_s(one, stretch) == (5.0, 9.8)


def test_a_run_of_words_not_heard_is_dropped():
    one = found([(0, 8, FIVE), (20, 40, MORE)], f"{FIVE} one fine day in the middle {MORE}")
    (stretch,) = stretches(one)
    assert (stretch.kind, stretch.n_units) == ("dropped", 6)
    assert one.said(*stretch.ref) == "one fine day in the middle"
    assert span_s(one, stretch) == (4.8, 20.0)


@pytest.mark.parametrize(("inserted", "n"), [("so thank you", 0), ("so thank you very", 1)])
def test_four_words_make_a_stretch(inserted, n):
    assert len(stretches(found([(0, 30, f"{FIVE} {inserted} {MORE}")], f"{FIVE} {MORE}"))) == n


def test_substitutions_inside_do_not_count():
    # six words for three: three of them are substitutions, wherever the alignment puts them
    said, six = f"{FIVE} red green blue {MORE}", "cat dog cow hen pig fox"
    assert stretches(found([(0, 30, f"{FIVE} {six} {MORE}")], said)) == []
    (stretch,) = stretches(found([(0, 30, f"{FIVE} {six} owl {MORE}")], said))
    assert stretch.n_units == 4


def test_a_chance_hit_does_not_part_what_was_dropped():
    one = found([(0, 30, f"{FIVE} the {MORE}")], f"{FIVE} cat dog cow hen the pig fox owl ape {MORE}")
    assert [(stretch.kind, stretch.n_units) for stretch in stretches(one)] == [("dropped", 8)]


def test_a_stretch_at_either_end_has_a_time():
    (head,) = stretches(found([(3, 30, MORE)], f"{FIVE} {MORE}"))
    (tail,) = stretches(found([(0, 30, FIVE)], f"{FIVE} {MORE}"))
    (all_,) = stretches(found([], FIVE))
    assert span_s(found([(3, 30, MORE)], f"{FIVE} {MORE}"), head) == (3, 3.0)
    assert span_s(found([(0, 30, FIVE)], f"{FIVE} {MORE}"), tail) == (4.8, 30)
    assert span_s(found([], FIVE), all_) == (0.0, 0.0)


def test_loops_are_judged_window_by_window():
    windows = [(0, 20, FIVE), (20, 50, "and so on " * 9), (50, 70, MORE)]
    looped = window_texts(found(windows, f"{FIVE} and so on {MORE}"))
    assert [one.looped for one in looped] == [False, True, False]
    assert [one.compressed for one in looped] == [False, True, False]
    assert looped[1].n_heard == 27


def test_a_speaker_who_repeats_himself_is_no_loop():
    chant = "row row row row row row row row"
    assert not window_texts(found([(0, 20, FIVE), (20, 40, chant)], f"{FIVE} {chant}"))[1].looped


def test_text_in_a_piece_without_a_reference_word_was_not_spoken():
    pieces = [(0.0, 6.0), (10.0, 13.0), (20.0, 26.0)]
    one = found([(pieces, (FIVE, "Thank you.", MORE))], f"{FIVE} {MORE}")
    assert unspoken(one) == [(10.0, 13.0, "thank you")]
    assert stretches(one) == []  # too short to be seen by its length


def test_a_short_piece_may_hold_a_neighbours_word():
    pieces = [(0.0, 6.0), (10.0, 10.9), (20.0, 26.0)]
    assert unspoken(found([(pieces, (FIVE, "ah", MORE))], f"{FIVE} {MORE}")) == []


def test_shift_is_measured_on_words_that_both_heard():
    before = found([(0, 10, FIVE)], FIVE)
    after = found([(0, 10, FIVE.replace("charlie", "charly"))], FIVE, shift_s=0.5)
    assert start_shifts_s(before, after) == pytest.approx([0.5] * 4)
    assert start_shifts_s(before, found([(0, 10, FIVE)], FIVE, timed=False)) == []


def test_shift_is_summed_up_by_its_size():
    told = summary([0.0, -0.2, 0.1, 1.0])
    assert (told["n_words"], told["share_in_place"]) == (4, 0.75)
    assert told["median_s"] == pytest.approx(0.15)
    assert summary([]) is None


def test_a_recording_is_paired_by_the_windows_of_the_baseline():
    reference = f"{FIVE} {MORE} kilo lima"
    before = recording([(0, 10, FIVE), (10, 20, "foxtrot hotel india juliet"), (25, 30, "kilo lima")], reference)
    after = recording([(0, 10, FIVE.replace("bravo", "well bravo")), (10, 20, ""), (25, 30, "kilo lima")], reference)
    pairs = paired_units([before], [after], "en")
    assert [(one.id, one.span_s) for one, _ in pairs] == [("r", (0, 10)), ("r", (10, 20)), ("r", (25, 30))]
    assert [one.reference for one, _ in pairs] == [FIVE, MORE, "kilo lima"]
    assert [(a.counts.errors, b.counts.errors) for a, b in pairs] == [(0, 1), (1, 5), (0, 0)]
    assert sum(b.counts.errors for _, b in pairs) == after.counts.errors
    assert [b.text for _, b in pairs] == [FIVE.replace("bravo", "well bravo"), "", "kilo lima"]


def test_all_errors_and_words_are_booked_once_even_if_a_side_heard_nothing():
    heard = recording([(0, 10, FIVE), (10, 20, "hello " + MORE)], f"{FIVE} {MORE}")
    nothing = recording([], f"{FIVE} {MORE}")
    for pair in ((heard, nothing), (nothing, heard), (nothing, nothing)):
        units = paired_units([pair[0]], [pair[1]], "en")
        for side in (0, 1):
            assert sum(unit[side].counts.errors for unit in units) == pair[side].counts.errors
            assert sum(unit[side].counts.n_ref_words for unit in units) == 10


def test_what_is_paired_has_a_name():
    long, clip = recording([(0, 10, FIVE)], FIVE), recording([], FIVE)
    clip = type(clip)(**vars(clip) | {"timeline": None})
    assert [unit_name(rows) for rows in ([clip], [long], [long, clip])] == [
        "utterance",
        "window",
        "utterance or window",
    ]


def test_one_recording_has_an_interval_over_its_windows():
    words = [f"{a}{b}" for a in "bdfgklmnpr" for b in ("ana", "obo", "usu", "ili", "ete", "ago")]
    reference = " ".join(words)

    def heard(wrong):
        said = ["wrong" if i in wrong else word for i, word in enumerate(words)]
        return recording([(10 * i, 10 * i + 10, " ".join(said[10 * i : 10 * i + 10])) for i in range(6)], reference)

    delta = compare(evaluation(heard({3})), evaluation(heard({3, 12, 13, 14, 47})))
    assert (delta["unit"], delta["n_units"]) == ("window", 6)
    assert delta["wer_delta_pp"] == pytest.approx(100 * 4 / 60)
    low, high = delta["ci95_pp"]
    assert low < 100 * 4 / 60 < high
    assert "6 windows" in delta["statement"]
    assert delta["recordings"]["n_units"] == 6
    assert delta["recordings"]["ci95_pp"] == pytest.approx(delta["ci95_pp"])
    assert delta["recordings"]["shift"]["n_words"] == 56
    assert delta["recordings"]["shift"]["median_s"] == 0


def test_the_figures_of_recordings():
    reference = f"{FIVE} {MORE} kilo lima mike november"
    pieces = [(0.0, 6.0), (10.0, 13.0), (20.0, 26.0)]
    bad = recording([(pieces, (FIVE, "Thank you.", MORE)), (40, 60, "oscar " * 20)], reference)
    told = evaluation(bad).to_json()["eval"]["recordings"]
    assert (told["n_recordings"], told["n_windows"], told["rtfx"]) == (1, 2, 30.0)
    assert told["invented"] == {"n": 1, "n_words": 16}  # four stand for words that were said
    assert told["dropped"] == {"n": 0, "n_words": 0}
    assert told["unspoken"] == {"n": 1, "n_words": 2}
    assert (told["looped_windows"], told["compressed_windows"]) == (1, 1)
    assert [place["kind"] for place in told["places"]] == ["looped", "invented", "unspoken"]
    assert evaluation(bad).repetition_loops == 1


def test_what_needs_times_of_words_is_not_told_without():
    told = evaluation(recording([(0, 20, FIVE)], FIVE, timed=False)).recordings
    assert told["unspoken"] is None


def test_a_recording_in_which_nobody_speaks_has_no_rate():
    clip = type(row := recording([], FIVE))(**vars(row) | {"timeline": None})
    music = recording([(0, 20, "thank you for watching this")], "", name="music")
    one = evaluation(clip, music)
    assert one.recordings["wer"] is None
    assert one.recordings["invented"]["n_words"] == 5
    assert compare(one, one)["recordings"]["ci95_pp"] is None


def test_clips_alone_have_no_such_figures():
    clip = type(row := recording([], FIVE))(**vars(row) | {"timeline": None})
    one = evaluation(clip)
    assert one.to_json()["eval"]["recordings"] is None
    assert compare(one, one)["recordings"] is None


def test_a_timeline_survives_its_row():
    from dataclasses import asdict

    timeline = recording([([(0.0, 6.0), (10.0, 13.0)], (FIVE, "one two"))], FIVE).timeline
    assert Timeline.from_json(asdict(timeline)) == timeline


def test_long_texts_of_places_are_cut_only_in_the_figures():
    one = recording([(0, 9, " ".join(["hello", "world"] * 50))], FIVE)
    assert len(evaluation(one).recordings["places"][0]["text"]) < 410
    assert len(next(places(aligned(one, "en"))).text) > 410

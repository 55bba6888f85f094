"""Batch sizes in a row: the same clips for each, compared with batch 1, as far as memory goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastwhisper_compress.errors import ResourceError, UsageError
from fastwhisper_compress.evaluation.measure import Evaluation, Row
from fastwhisper_compress.evaluation.suite import Suite, Utterance
from fastwhisper_compress.pipeline.sweep import check_sizes, parse_sizes, sweep


def suite(n):
    clips = tuple(Utterance(f"u{i}", Path(f"u{i}.wav"), "word", 4.0, "en", None) for i in range(n))
    return Suite("s", "en", synthetic=True, license="CC0", source="s", revision=None, utterances=clips)


def row(name, text, wall_s):
    return Row(name, text, (), looped=False, redone=False, audio_s=4.0, wall_s=wall_s, error=None, reference="word",
               substitutions=0, deletions=0, insertions=0, n_ref_words=1, speaker=None)  # fmt: skip


class Measured:
    """Twice the batch takes half the time; one text in every batch of four or more is another."""

    def __init__(self, fails_at=None):
        self.fails_at, self.asked = fails_at, []

    def __call__(self, clips, size):
        self.asked.append((size, [one.id for one in clips.utterances]))
        if size == self.fails_at:
            raise ResourceError("killed")
        rows = [
            row(one.id, "other" if size >= 4 and not i else "word", 1 / size) for i, one in enumerate(clips.utterances)
        ]
        process = {"batch_size_used": size, "peak_rss_bytes": 100 + size, "peak_vram_bytes": None}
        return Evaluation("d", "en", 2, tuple(rows), process)


def test_all_sizes_hear_the_same_clips_and_are_compared_with_batch_1():
    measured = Measured()
    found = sweep((1, 2, 4), suite(50), measured)
    assert [size for size, _ in measured.asked] == [1, 2, 4]
    assert all(names == [f"u{i}" for i in range(32)] for _, names in measured.asked)
    assert (found["n_clips"], found["audio_s"], found["threads"]) == (32, 128.0, 2)
    assert [(one["batch_size"], one["rtfx"], one["peak_rss_bytes"]) for one in found["points"]] == [
        (1, 4.0, 101),
        (2, 8.0, 102),
        (4, 16.0, 104),
    ]
    assert [one["texts_equal"] for one in found["points"]] == [32, 32, 31]


def test_large_batches_are_given_two_each_where_the_suite_has_them():
    assert sweep((1, 24), suite(99), Measured())["n_clips"] == 48
    assert sweep((1, 24), suite(30), Measured())["n_clips"] == 30


def test_beyond_what_memory_lets_nothing_is_tried_and_what_was_found_is_kept():
    measured = Measured(fails_at=4)
    points = sweep((1, 2, 4, 8), suite(20), measured)["points"]
    assert [(one["batch_size"], one["rtfx"], one["error"]) for one in points] == [
        (1, 4.0, None),
        (2, 8.0, None),
        (4, None, "killed"),
    ]
    with pytest.raises(ResourceError):
        sweep((1, 2), suite(20), Measured(fails_at=1))


def test_sizes_are_read_sorted_with_1_among_them():
    assert parse_sizes("8, 2,2") == (1, 2, 8)
    for wrong in ("", "1,", "0", "1025", "-1", "two", "1;2", "99999999999", "\N{ARABIC-INDIC DIGIT TWO}"):
        with pytest.raises(UsageError, match="whole numbers") as caught:
            parse_sizes(wrong)
        assert caught.value.place == "--batch-sweep"


def test_a_batch_that_the_suite_cannot_fill_is_refused():
    check_sizes((1, 4), suite(4))
    check_sizes((), replace(suite(4), utterances=()))
    with pytest.raises(UsageError, match="a batch of 5 cannot be filled with the 4 clips"):
        check_sizes((1, 5), suite(4))

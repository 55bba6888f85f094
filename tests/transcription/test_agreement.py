from __future__ import annotations

import pytest

from fastwhisper_compress.runtime.transcript import Word
from fastwhisper_compress.transcription.agreement import agreed, divided


def words(*texts, start_s=0.0):
    """Words of one token a character, one second each."""
    return tuple(
        Word(text, start_s + i, start_s + i + 1.0, 1.0, tuple(ord(char) for char in text))
        for i, text in enumerate(texts)
    )


@pytest.mark.parametrize(
    ("before", "now", "n"),
    [
        ((), (" a",), 0),
        ((" a", " b"), (" a", " c"), 1),
        ((" the", " end."), (" the", " end", " of"), 2),
        ((" The",), (" the", " end"), 1),
        ((" a", " b"), (" b", " a", " b"), 0),
        ((" दिन",), (" दान",), 0),  # vowel signs are no punctuation
    ],
)
def test_agreement_is_of_words_from_the_start(before, now, n):
    assert agreed(words(*before), words(*now)) == n


def test_the_rest_of_a_hypothesis_begins_behind_what_is_fixed():
    fixed, rest = divided(words(" a", " bc", " d", start_s=5.0), words(" a", " bc"))
    assert [(word.text, word.start_s) for word in fixed] == [(" a", 5.0), (" bc", 6.0)]
    assert [word.text for word in rest] == [" d"]


def test_a_comma_that_came_later_is_the_first_of_the_rest():
    fixed, rest = divided(words(" a", " b,", " c"), words(" a", " b"))
    assert [word.text for word in fixed] == [" a", " b"]
    assert [(word.text, word.tokens) for word in rest] == [(",", (ord(","),)), (" c", (ord(" "), ord("c")))]


@pytest.mark.parametrize("heard", [(), (" a",), (" a", " c", " d")])
def test_a_hypothesis_that_begins_otherwise_is_refused(heard):
    with pytest.raises(ValueError, match="does not begin"):
        divided(words(*heard), words(" a", " bc"))


def test_words_that_have_grown_together_are_told_apart():
    fixed, rest = divided(words(" a-b", " c"), words(" a", "-"))
    assert [(word.text, word.end_s) for word in fixed] == [(" a", 1.0), ("-", 1.0)]
    assert [word.text for word in rest] == ["b", " c"]

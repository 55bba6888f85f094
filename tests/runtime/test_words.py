"""From attention to words: pieces, times, punctuation, segments."""

from __future__ import annotations

import numpy as np
import pytest

from fastwhisper_compress.runtime.tokens import Vocabulary
from fastwhisper_compress.runtime.transcript import Segment
from fastwhisper_compress.runtime.word_pieces import Piece, split_words
from fastwhisper_compress.runtime.words import align, listening


def split(*tokens, language="en"):
    """Split tokens given as what they spell."""
    spelled = [token if isinstance(token, bytes) else token.encode() for token in tokens]
    return [(piece.text, piece.n_tokens) for piece in split_words(range(len(spelled)), Vocabulary(spelled), language)]


def test_words_begin_at_spaces_and_punctuation():
    assert split(" Hel", "lo", ",", " wor", "ld", "!") == [(" Hello", 2), (",", 1), (" world", 2), ("!", 1)]
    assert split("An", "na", "'s", " 3", ".", "14") == [("Anna's", 3), (" 3", 1), (".14", 2)]


@pytest.mark.parametrize("language", ["zh", "ja", "th", "lo", "my", "yue"])
def test_without_spaces_every_token_is_a_word(language):
    assert split("今天", "天", "气", language=language) == [("今天", 1), ("天", 1), ("气", 1)]


def test_tokens_that_share_a_character_stay_together():
    first, second = "天气".encode()[:2], "天气".encode()[2:]
    assert split(first, second, language="zh") == [("天气", 2)]
    assert split(" é".encode()[:2], "é".encode()[1:], " x") == [(" é", 2), (" x", 1)]
    assert split(" a", b"\xe5\xa4") == [(" a\ufffd", 2)]  # the text ends within a character
    assert split(b"\xff", " a") == [("\ufffd", 1), (" a", 1)]


def heard_at(*starts, positions=100):
    """What tokens listen to that begin at these positions."""
    found = np.full((len(starts), positions), -1, np.float32)
    for row, (first, end) in enumerate(zip(starts, [*starts[1:], positions], strict=True)):
        found[row, first:end] = 1
    return found


def aligned(words, *starts, segments=None, length_s=2.0):
    """Align words of one token each, which begin at these positions, as the end of text does at the last."""
    pieces = [Piece(word, 1) for word in words]
    segments = segments or [Segment(0.0, length_s, "".join(words), tuple(range(len(words))))]
    return align(pieces, np.linspace(0.1, 0.9, len(words)), heard_at(*starts), segments, length_s)


def times(segment):
    return [(word.text, round(word.start_s, 4), round(word.end_s, 4)) for word in segment.words]


def test_words_last_until_the_next():
    (found,) = aligned([" one", " two", " three"], 5, 20, 30, 50)
    # The path begins in the corner: so does the first word.
    assert times(found) == [(" one", 0.0, 0.4), (" two", 0.4, 0.6), (" three", 0.6, 1.0)]
    assert [word.probability for word in found.words] == pytest.approx([0.1, 0.5, 0.9])
    assert (found.start_s, found.end_s) == (0.0, 1.0)


def test_punctuation_joins_its_word_and_leaves_its_times():
    (found,) = aligned([' "', "Yes", ",", " no", "?"], 0, 10, 20, 25, 35, 40)
    assert times(found) == [(' "Yes,', 0.2, 0.4), (" no?", 0.5, 0.7)]


def test_a_pause_between_sentences_belongs_to_no_word():
    words = [" a", " b", ".", " c", " d", " e"]
    (found,) = aligned(words, 0, 10, 20, 70, 95, 96, 97)
    # Words last 0.2 s in the middle: the mark may last 0.4 s, and so may the word behind it.
    spans = times(found)
    assert spans[1] == (" b.", 0.2, 0.4)
    assert spans[2][2] - spans[2][1] < 0.5


def test_segments_get_their_words_and_take_their_bounds():
    parts = [Segment(0.0, 0.6, " one two", (1, 2)), Segment(0.6, 2.0, " three", (3,))]
    first, second = aligned([" one", " two", " three"], 0, 20, 32, 60, segments=parts)
    assert times(first) == [(" one", 0.0, 0.4), (" two", 0.4, 0.64)]
    assert times(second) == [(" three", 0.64, 1.2)]
    assert (first.end_s, second.start_s, second.end_s) == pytest.approx((0.64, 0.64, 1.2))


def test_a_first_word_behind_a_pause_does_not_hold_it():
    parts = [Segment(0.0, 0.6, " one two", (1, 2)), Segment(1.4, 1.6, " three", (3,))]
    _, second = aligned([" one", " two", " three"], 0, 10, 20, 95, segments=parts)
    (word,) = second.words  # words last 0.2 s, and none behind a pause more than twice as long
    assert (word.start_s, word.end_s) == pytest.approx((1.5, 1.9))


def test_a_last_word_that_swallows_a_pause_ends_with_its_segment():
    parts = [Segment(0.0, 0.4, " one two", (1, 2)), Segment(0.4, 1.0, " three four", (3, 4))]
    _, second = aligned([" one", " two", " three", " four"], 0, 10, 20, 30, 95, segments=parts)
    assert times(second) == [(" three", 0.4, 0.6), (" four", 0.6, 1.0)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("positions", [1, 3, 4, 20, 200])
def test_times_are_monotonic_and_within_the_clip(seed, positions):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 15))
    texts = rng.choice([" word", ".", ",", ' "', " b"], n)
    pieces = [Piece(str(text), 1) for text in texts]
    cut = int(rng.integers(0, n + 1))
    length_s = positions * 0.02 - 0.005
    at_s = float(rng.uniform(0, length_s))
    segments = [Segment(0, at_s, "", tuple(range(cut))), Segment(at_s, length_s, "", tuple(range(n - cut)))]
    heard = listening(
        {2: rng.normal(size=(n + 1, 8)).astype(np.float16)},
        {2: rng.normal(size=(2, positions + 3, 4)).astype(np.float16)},
        [(2, 1), (2, 0)],
        positions,
    )
    assert heard.shape == (n + 1, positions)
    assert np.isfinite(heard).all()
    found = align(pieces, np.ones(n), heard, segments, length_s)
    words = [word for segment in found for word in segment.words]
    assert "".join(word.text for word in words) == "".join(texts)
    edges = [edge for word in words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= length_s


def test_the_loudest_place_is_heard():
    """A query listens where a key is like it, however long the silence behind the clip."""
    keys = np.zeros((1, 60, 4), np.float32)
    keys[0, 10:20, 0] = keys[0, 30:40, 1] = 40
    keys[0, 50:, :] = 100  # behind the clip
    heard = listening({0: np.eye(4, dtype=np.float32)[:2]}, {0: keys}, [(0, 0)], 45)
    assert set(heard[0].argsort()[-10:]) == set(range(10, 20))
    assert set(heard[1].argsort()[-10:]) == set(range(30, 40))

"""Local agreement: what two successive hypotheses about a growing clip have in common will hardly change any more.

Liu, Spanakis & Niehues 2020, "Low-latency sequence-to-sequence speech recognition and translation by partial hypothesis
selection"; for Whisper, Macháček, Dabre & Bojar 2023, "Turning Whisper into a real-time transcription system".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from fastwhisper_compress.runtime.transcript import Word


def agreed(before: Sequence[Word], now: Sequence[Word]) -> int:
    """Return with how many words both hypotheses begin.

    Case and punctuation are no disagreement: a sentence that seemed to have ended goes on when more is heard.
    """
    pairs = zip(before, now, strict=False)
    return sum(1 for _ in takewhile(lambda pair: _bare(pair[0]) == _bare(pair[1]), pairs))


def divided(words: Sequence[Word], fixed: Sequence[Word]) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Divide a hypothesis that begins with the tokens of ``fixed`` into those words, with their newest times, and the rest.

    The borders of its words need not be theirs: a comma that has come belongs to the word before it, and is then the
    first of the rest.

    Args:
        words: The hypothesis. Its tokens must begin with those of ``fixed``, as they do where these were its prefix.
        fixed: What it begins with.

    Raises:
        ValueError: It does not.
    """
    given = [token for word in fixed for token in word.tokens]
    if [token for word in words for token in word.tokens][: len(given)] != given:
        raise ValueError("the hypothesis does not begin with the words that are fixed")
    times = [(word.start_s, word.end_s) for word in words for _ in word.tokens]
    place, again = 0, []
    for word in fixed:
        behind = place + len(word.tokens)
        start_s, end_s = times[place][0], times[behind - 1][1]
        again.append(replace(word, start_s=start_s, end_s=end_s))
        place = behind
    rest = []
    n_letters = sum(len(word.text) for word in fixed)
    for word in words:
        if 0 < place < len(word.tokens):
            rest.append(replace(word, text=word.text[n_letters:], tokens=word.tokens[place:]))
        elif place <= 0:
            rest.append(word)
        place -= len(word.tokens)
        n_letters -= len(word.text)
    return tuple(again), tuple(rest)


def _bare(word: Word) -> str:
    letters = (char for char in word.text.strip().casefold() if not unicodedata.category(char).startswith("P"))
    return "".join(letters)

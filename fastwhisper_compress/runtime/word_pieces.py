"""Which tokens make a word."""

from __future__ import annotations

import codecs
import string
from collections.abc import Sequence
from dataclasses import dataclass

from fastwhisper_compress.runtime.tokens import Vocabulary

# Chinese, Cantonese, Japanese, Thai, Lao, Khmer, Burmese: written without spaces between words.
UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "km", "my"})


@dataclass(frozen=True)
class Piece:
    """Some tokens that are timed together.

    Attributes:
        text: What they spell.
        n_tokens: How many they are.
    """

    text: str
    n_tokens: int


def written_language(spoken: str, task: str) -> str:
    """Return the language of a text: translations are into English."""
    return "en" if task == "translate" else spoken


def split_words(tokens: Sequence[int], vocabulary: Vocabulary, language: str) -> list[Piece]:
    """Cut tokens of text into words, punctuation apart; where a language has no spaces, as finely as the tokens do.

    The rules are openai-whisper's: a word begins where a token spells a space first, or only punctuation. (Khmer, which it
    leaves out, is no exception.)
    """
    found: list[Piece] = []
    for piece in _whole_characters(tokens, vocabulary):
        begins = piece.text.startswith(" ") or piece.text.strip() in string.punctuation
        if not found or begins or language in UNSPACED_LANGUAGES:
            found.append(piece)
        else:
            found[-1] = Piece(found[-1].text + piece.text, found[-1].n_tokens + piece.n_tokens)
    return found


def _whole_characters(tokens: Sequence[int], vocabulary: Vocabulary) -> list[Piece]:
    """Join the tokens that share a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found: list[Piece] = []
    text, count = "", 0
    for place, token in enumerate(tokens, 1):
        text += decoder.decode(vocabulary.bytes_of(token), final=place == len(tokens))
        count += 1
        unfinished, _ = decoder.getstate()
        if not unfinished:
            found.append(Piece(text, count))
            text, count = "", 0
    return found

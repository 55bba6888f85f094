"""Token ids to text: the byte-level vocabulary of GPT-2 (Radford et al. 2019), read from ``tokenizer.json``."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

from fastwhisper_compress.errors import UnsafeInputError
from fastwhisper_compress.runtime.json_file import read_json

_MOST_TOKENS = 1 << 20  # twenty times Whisper's: what lies beyond is a damaged file


class Vocabulary:
    """The bytes behind every token id; special tokens have none.

    They lie end to end in one string: fifty thousand objects of their own would take 8 MB more.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._ends = array("I", [0])
        joined = bytearray()
        for piece in pieces:
            joined += piece
            self._ends.append(len(joined))
        self._joined = bytes(joined)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a Hugging Face ``tokenizer.json``.

        Raises:
            UnsafeInputError: It is not a byte-level vocabulary.
        """
        try:
            tokenizer = read_json(path)
            vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
            special = {int(token["id"]) for token in tokenizer["added_tokens"]}
            to_byte = _byte_of_character()
            size = max(vocabulary.values()) + 1
            if size > _MOST_TOKENS:
                raise ValueError(f"{size} tokens")  # noqa: TRY301 - one message for all that is wrong with the file
            texts = [""] * size
            for text, token in vocabulary.items():
                if token not in special:
                    texts[token] = text
            return cls(bytes(map(to_byte.__getitem__, text)) for text in texts)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise UnsafeInputError(
                f"not a byte-level tokenizer ({type(error).__name__}: {error})",
                place=str(path),
                remedy="run the recipe again",
            ) from None

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of some tokens; bytes that are not UTF-8 become U+FFFD, special tokens nothing."""
        return b"".join(map(self.bytes_of, tokens)).decode("utf-8", errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """Return what a token adds to the text: part of a character, or several; a special token nothing."""
        known = len(self._ends) - 1
        return self._joined[self._ends[token] : self._ends[token + 1]] if token < known else b""


def _byte_of_character() -> dict[str, int]:
    """Return the byte that each printable stand-in character of the vocabulary means.

    Printable Latin-1 bytes stand for themselves; the others, in order, for the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    mapping = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    mapping.update({chr(0x100 + i): byte for i, byte in enumerate(others)})
    return mapping

"""The released Whisper tokenizers, for checkpoints that bring none: built from the ranks openai-whisper carries."""

from __future__ import annotations

import json
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.checkpoint.dims import MULTILINGUAL_VOCAB, Dims
from fastwhisper_compress.checkpoint.safe_load import read_bytes
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from pathlib import Path

    from whisper.tokenizer import Tokenizer

_RELEASED_VOCABS = (51_864, 51_865, 51_866)  # English, multilingual, multilingual with Cantonese (large-v3, turbo)


def tokenizer_of_folder(folder: Path, dims: Dims) -> bytes:
    """The folder's ``tokenizer.json``, or the released one that fits the vocabulary."""
    path = folder / "tokenizer.json"
    return read_bytes(path) if path.exists() else released_tokenizer(dims, str(folder))


def released_tokenizer(dims: Dims, place: str) -> bytes:
    """A ``tokenizer.json`` equal to the one published with the models of this vocabulary.

    Raises:
        UnsafeInputError: No released Whisper has this vocabulary, so its tokenizer cannot be known.
    """
    if dims.n_vocab not in _RELEASED_VOCABS:
        raise UnsafeInputError(
            f"no tokenizer.json, and {dims.n_vocab} tokens are not a released vocabulary",
            place=place,
            remedy="put the model's tokenizer.json into the folder",
        )
    return _build(dims.n_vocab)


def suppress_ids(dims: Dims) -> tuple[int, ...]:
    """Ids a transcript never holds: symbols of non-speech annotations and the special tokens of the prompt."""
    tokenizer = _openai_tokenizer(dims.n_vocab)
    special = (
        tokenizer.transcribe,
        tokenizer.translate,
        tokenizer.sot,
        tokenizer.sot_prev,
        tokenizer.sot_lm,
        tokenizer.no_speech,
    )
    return tuple(sorted({*tokenizer.non_speech_tokens, *special}))


def begin_suppress_ids(dims: Dims) -> tuple[int, ...]:
    """Ids no transcript starts with: a blank and the end of text."""
    tokenizer = _openai_tokenizer(dims.n_vocab)
    return (*tokenizer.encode(" "), tokenizer.eot)


def _openai_tokenizer(n_vocab: int) -> Tokenizer:
    from whisper.tokenizer import get_tokenizer

    multilingual = n_vocab >= MULTILINGUAL_VOCAB
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # openai-whisper leaves its vocabulary file to be closed
        return get_tokenizer(multilingual, num_languages=n_vocab - 51_765 - multilingual)


@cache
def _build(n_vocab: int) -> bytes:
    tokenizer = _openai_tokenizer(n_vocab)
    encoding = tokenizer.encoding
    ranks = {encoding.decode_single_token_bytes(i): i for i in range(tokenizer.eot)}
    text = _printable_bytes()

    def spell(token: bytes) -> str:
        return "".join(text[byte] for byte in token)

    vocab = {spell(token): rank for token, rank in ranks.items()}
    vocab["<|endoftext|>"] = tokenizer.eot
    pairs = (_merged_pair(token, ranks) for token in ranks if len(token) > 1)
    first = tokenizer.eot
    # v1 and v2 were published with an older name of the no-speech token.
    old_name = {"<|nospeech|>": "<|nocaptions|>"} if n_vocab < 51_866 else {}
    specials = {old_name.get(name, name): id_ for name, id_ in tokenizer.special_tokens.items()}
    ids = sorted((id_, name) for name, id_ in specials.items() if first <= id_ < tokenizer.timestamp_begin)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id_, "content": name, **flags} for id_, name in ids],
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "add_prefix_space": False},
        "post_processor": _template(specials),
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": vocab,
            "merges": [f"{spell(left)} {spell(right)}" for left, right in pairs],
        },
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _merged_pair(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens whose merge made this one: what byte-pair encoding leaves when only earlier merges are allowed."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], len(ranks)))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def _printable_bytes() -> list[str]:
    """GPT-2's spelling of bytes as visible characters: printable Latin-1 stands for itself, the rest from U+0100 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    spelling = {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    return [spelling[byte] for byte in range(256)]


def _template(specials: dict[str, int]) -> dict[str, Any]:
    """How encoding wraps a text (or a pair): start, no timestamps, text, end."""
    start, plain, end = "<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"

    def special(name: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    first: list[dict[str, Any]] = [special(start, 0), special(plain, 0), {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "type": "TemplateProcessing",
        "single": [*first, special(end, 0)],
        "pair": [*first, {"Sequence": {"id": "B", "type_id": 1}}, special(end, 1)],
        "special_tokens": {n: {"id": n, "ids": [specials[n]], "tokens": [n]} for n in sorted((start, plain, end))},
    }

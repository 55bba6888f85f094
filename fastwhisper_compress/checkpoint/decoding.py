"""The token ids a greedy decoder needs, whatever file they came from."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.checkpoint.safe_load import parse_json
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastwhisper_compress.checkpoint.dims import Dims

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # its name now, and in the first releases
_TIMESTAMPS = 1501  # <|0.00|> to <|30.00|> in steps of 20 ms
# Start-of-transcript follows the text tokens: 50,256 of GPT-2 and <|endoftext|>, or one more when multilingual.
_RELEASED_SOT = {51_864: 50_257, 51_865: 50_258, 51_866: 50_258}


@dataclass(frozen=True)
class Decoding:
    """Ids and limits for greedy decoding.

    Attributes:
        sot: Start of transcript.
        eot: End of text.
        sot_prev: What earlier text stands behind.
        no_timestamps: Prompt token that asks for text alone.
        no_speech: Token whose first probability tells silence, where the vocabulary has one.
        transcribe: Task token; None for English-only models, as is ``translate``.
        translate: Task token.
        languages: Language code to id; empty for English-only models.
        suppress: Ids never to be chosen.
        begin_suppress: Ids not to be chosen as the first token.
        timestamp_begin: Id of ``<|0.00|>``.
        alignment_heads: (decoder layer, head) pairs whose cross attention follows time; empty when unknown.
        max_length: Most tokens a sequence may have, prompt included.
    """

    sot: int
    eot: int
    sot_prev: int
    no_timestamps: int
    no_speech: int | None
    transcribe: int | None
    translate: int | None
    languages: dict[str, int]
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    timestamp_begin: int
    alignment_heads: tuple[tuple[int, int], ...]
    max_length: int = 448

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decoding:
        """The inverse of `to_json`, also after a trip through JSON text."""
        lists = {
            "suppress": tuple(data["suppress"]),
            "begin_suppress": tuple(data["begin_suppress"]),
            "alignment_heads": tuple((layer, head) for layer, head in data["alignment_heads"]),
        }
        return cls(**{**data, **lists, "languages": dict(data["languages"])})


def decoding_from_tokenizer(
    tokenizer_json: bytes,
    dims: Dims,
    *,
    suppress: Iterable[int],
    begin_suppress: Iterable[int],
    alignment_heads: Iterable[Iterable[int]],
    max_length: int | None = None,
    place: str,
) -> Decoding:
    """Reads the special ids from a tokenizer and joins them to the lists a source format holds.

    Args:
        tokenizer_json: A Hugging Face ``tokenizer.json``.
        dims: Dimensions that every id must fit.
        suppress: Ids never to be chosen.
        begin_suppress: Ids not to be chosen first.
        alignment_heads: Pairs; those outside the decoder (distilled models inherit them) are dropped.
        max_length: The source's limit; the decoder's positions bound it.
        place: File name for errors.

    Raises:
        UnsafeInputError: A token is missing or an id does not fit the model.
    """
    ids = special_ids(tokenizer_json, place)

    def find(name: str) -> int:
        found = ids.get(name)
        if found is None or not 0 <= found < dims.n_vocab:
            raise _mismatch(f"{name} is missing or outside the model's {dims.n_vocab} tokens", place)
        return found

    sot = find("<|startoftranscript|>")
    if sot != _RELEASED_SOT.get(dims.n_vocab, sot):
        raise _mismatch(f"the tokenizer is of another model: <|startoftranscript|> is {sot}", place)
    no_timestamps = find("<|notimestamps|>")
    if no_timestamps + _TIMESTAMPS >= dims.n_vocab:
        raise _mismatch(f"the timestamps after id {no_timestamps} do not fit {dims.n_vocab} tokens", place)
    no_speech = next((name for name in _NO_SPEECH if name in ids), None)
    translate = find("<|translate|>") if dims.multilingual else None
    languages = {}
    if translate is not None:
        # Language tokens lie between start-of-transcript and the first task token.
        for name, id_ in sorted(ids.items(), key=lambda item: item[1]):
            if sot < id_ < translate and (match := _LANGUAGE.fullmatch(name)):
                languages[match[1]] = id_
    return Decoding(
        sot=sot,
        eot=find("<|endoftext|>"),
        sot_prev=find("<|startofprev|>"),
        no_timestamps=no_timestamps,
        no_speech=None if no_speech is None else find(no_speech),
        transcribe=find("<|transcribe|>") if dims.multilingual else None,
        translate=translate,
        languages=languages,
        suppress=_check_ids(suppress, dims, place),
        begin_suppress=_check_ids(begin_suppress, dims, place),
        timestamp_begin=no_timestamps + 1,
        alignment_heads=_check_heads(alignment_heads, dims, place),
        max_length=min(max_length or dims.n_text_ctx, dims.n_text_ctx),
    )


def special_ids(tokenizer_json: bytes, place: str) -> dict[str, int]:
    """Added tokens of a ``tokenizer.json`` and their ids.

    Raises:
        UnsafeInputError: It is not such a file.
    """
    try:
        tokenizer = parse_json(tokenizer_json, place)
    except UnsafeInputError as error:
        raise _mismatch(f"not a tokenizer.json: {error.message}", place) from error
    try:
        ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
        vocabulary = tokenizer["model"]["vocab"]
    except (KeyError, TypeError) as error:
        raise _mismatch(f"not a tokenizer.json ({type(error).__name__})", place) from error
    valid = all(isinstance(k, str) and type(v) is int for k, v in ids.items())
    if not valid or not isinstance(vocabulary, dict):
        raise _mismatch("not a tokenizer.json: added tokens or vocabulary of a wrong type", place)
    return ids


def _check_ids(ids: Iterable[int], dims: Dims, place: str) -> tuple[int, ...]:
    try:
        checked = tuple(ids)
    except TypeError:
        raise _mismatch("a list of token ids is not a list", place) from None
    for id_ in checked:
        if type(id_) is not int or not 0 <= id_ < dims.n_vocab:
            raise _mismatch(f"a suppressed id lies outside the model's {dims.n_vocab} tokens", place)
    return checked


def _check_heads(heads: Iterable[Iterable[int]], dims: Dims, place: str) -> tuple[tuple[int, int], ...]:
    try:
        pairs = [(layer, head) for layer, head in heads]
        valid = all(type(layer) is int and type(head) is int and layer >= 0 and head >= 0 for layer, head in pairs)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise _mismatch("alignment_heads is not a list of [layer, head] pairs", place)
    return tuple(pair for pair in pairs if pair[0] < dims.decoder_layers and pair[1] < dims.decoder_heads)


def _mismatch(message: str, place: str) -> UnsafeInputError:
    return UnsafeInputError(
        message, place=place, remedy="take weights, configs and tokenizer from one and the same model"
    )

"""Token ids: JSON there and back, and tokenizers that do not fit."""

from __future__ import annotations

import json

import pytest

from fastwhisper_compress.checkpoint.decoding import Decoding, decoding_from_tokenizer
from fastwhisper_compress.checkpoint.tokenizer import released_tokenizer
from fastwhisper_compress.errors import UnsafeInputError


def build(formats, tokenizer=None, dims=None, **changes):
    dims = dims or formats.dims()
    arguments = {"suppress": [], "begin_suppress": [], "alignment_heads": [], "place": "folder", **changes}
    return decoding_from_tokenizer(tokenizer or released_tokenizer(dims, ""), dims, **arguments)


@pytest.mark.parametrize("n_vocab", [51_864, 51_865, 51_866])
def test_json_there_and_back(formats, n_vocab):
    decoding = build(formats, dims=formats.dims(n_vocab=n_vocab), suppress=[3, 1], alignment_heads=[[0, 1]])
    assert Decoding.from_json(json.loads(json.dumps(decoding.to_json()))) == decoding
    assert hash(decoding.suppress) is not None
    languages = {51_864: 0, 51_865: 99, 51_866: 100}[n_vocab]
    assert len(decoding.languages) == languages
    assert ("yue" in decoding.languages) == (n_vocab == 51_866)
    assert decoding.timestamp_begin == n_vocab - 1501
    assert decoding.no_speech == decoding.no_timestamps - 1


def test_length_is_bounded_by_the_positions(formats):
    assert build(formats, max_length=100).max_length == 100
    assert build(formats, max_length=10_000).max_length == 448
    assert build(formats, dims=formats.dims(n_text_ctx=64)).max_length == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"suppress": [51_864]},
        {"suppress": [-1]},
        {"suppress": ["1"]},
        {"suppress": 7},
        {"begin_suppress": [None]},
        {"begin_suppress": [True]},
        {"alignment_heads": [[1]]},
        {"alignment_heads": [["0", 1]]},
        {"alignment_heads": [[-1, 0]]},
        {"alignment_heads": 3},
    ],
)
def test_ids_that_fit_no_model_are_refused(formats, changes):
    with pytest.raises(UnsafeInputError) as caught:
        build(formats, **changes)
    assert caught.value.place == "folder"


def test_tokenizer_of_another_model_is_refused(formats):
    english = released_tokenizer(formats.dims(), "")
    with pytest.raises(UnsafeInputError, match="another model"):
        build(formats, english, formats.dims(n_vocab=51_865))
    with pytest.raises(UnsafeInputError, match="another model"):
        build(formats, released_tokenizer(formats.dims(n_vocab=51_865), ""))
    with pytest.raises(UnsafeInputError, match="outside the model"):
        build(formats, english, formats.dims(n_vocab=50_000))


@pytest.mark.parametrize(
    "tokenizer",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"added_tokens": 3, "model": {"vocab": {}}}',
        b'{"added_tokens": [{"id": "x", "content": "<|endoftext|>"}], "model": {"vocab": {}}}',
        b'{"added_tokens": [], "model": {"vocab": []}}',
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_broken_tokenizers_are_refused(formats, tokenizer):
    with pytest.raises(UnsafeInputError, match=r"tokenizer\.json"):
        build(formats, tokenizer or b" ")


def test_a_vocabulary_without_no_speech(formats):
    tokenizer = json.loads(released_tokenizer(formats.dims(), ""))
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] != "<|nocaptions|>"]
    assert build(formats, json.dumps(tokenizer).encode()).no_speech is None

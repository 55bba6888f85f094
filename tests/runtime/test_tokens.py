"""Ids to text as the reference tokenizer does it, on every id and on bytes that are no text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.tokenizer import released_tokenizer
from fastwhisper_compress.errors import UnsafeInputError
from fastwhisper_compress.runtime.tokens import Vocabulary


@pytest.fixture(scope="module", params=[51_864, 51_865, 51_866])
def pair(request, tmp_path_factory):
    """The runtime's vocabulary and Hugging Face's tokenizer, of the same file."""
    dims = Dims(80, request.param, 64, 1, 1, 1, 1, 64, 64)
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    path.write_bytes(released_tokenizer(dims, "test"))
    return Vocabulary.load(path), Tokenizer.from_file(str(path)), request.param


def test_every_single_token(pair):
    ours, theirs, size = pair
    for token in range(size):
        assert ours.decode([token]) == theirs.decode([token], skip_special_tokens=True), token


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_random_ids_and_so_invalid_utf8(pair, data):
    ours, theirs, size = pair
    tokens = data.draw(st.lists(st.integers(0, size - 1) | st.integers(0, 300), max_size=30))
    assert ours.decode(tokens) == theirs.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize(
    "text", ["Ten percent.", " naïve café", "日本語のテキスト", "😀👩\u200d👩\u200d👧", "\n\t x", ""]
)
def test_text_comes_back(pair, text):
    ours, theirs, _ = pair
    assert ours.decode(theirs.encode(text, add_special_tokens=False).ids) == text


def test_special_and_unknown_ids_say_nothing(pair):
    ours, theirs, size = pair
    special = [theirs.token_to_id(t) for t in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|en|>")]
    assert ours.decode([t for t in special if t is not None]) == ""
    assert ours.decode([size, 10**9]) == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"\xff",
        b'{"model": {"vocab": []}, "added_tokens": []}',
        b'{"model": {"vocab": {}}, "added_tokens": []}',
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [1]}',
        b'{"model": {"vocab": {"a": 0}}}',
        b'{"model": {"vocab": {"a": "0"}}, "added_tokens": []}',
        b'{"model": {"vocab": {"a": 0.5}}, "added_tokens": []}',
        b'{"model": {"vocab": {"a": -7}}, "added_tokens": []}',
        b'{"model": {"vocab": {"a": 1000000000000}}, "added_tokens": []}',
        b'{"model": {"vocab": {"a": 1000000000000000000000000000000}}, "added_tokens": []}',
        json.dumps({"model": {"vocab": {"\u65e5": 0}}, "added_tokens": []}).encode(),
    ],
    ids=range(15),
)
def test_what_is_no_byte_level_tokenizer_is_refused(content, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UnsafeInputError, match="not a byte-level tokenizer"):
        Vocabulary.load(tmp_path / "tokenizer.json")

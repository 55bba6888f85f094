"""Tokenizers that are built rather than read, held against the published ones."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer

from fastwhisper_compress.checkpoint.tokenizer import begin_suppress_ids, released_tokenizer, suppress_ids
from fastwhisper_compress.errors import UnsafeInputError

TEXTS = ["Hello, world!", " It's 3.50 €  in Zürich\n", "日本語のテスト 🎉", "don't  stop", "the tea, at the table"]


@pytest.fixture(params=["tiny_en", "base"])
def published(request):
    return request.getfixturevalue(request.param)


def test_built_tokenizer_is_the_published_one(published):
    ours = json.loads(released_tokenizer(published.dims, "test"))
    theirs = json.loads(published.tokenizer_json)
    assert ours["model"]["vocab"] == theirs["model"]["vocab"]
    assert ours["post_processor"] == theirs["post_processor"]
    # Publishing lost the first merge of the multilingual vocabulary (" t"); reading ids as text needs none.
    assert ours["model"]["merges"][-len(theirs["model"]["merges"]) :] == theirs["model"]["merges"]
    # Hebrew is <|iw|> in one of them and <|he|> in the other.
    renamed = {"<|iw|>": "<|he|>"}
    names = {renamed.get(t["content"], t["content"]): t["id"] for t in theirs["added_tokens"]}
    assert {t["content"]: t["id"] for t in ours["added_tokens"]} == names


def test_every_id_reads_the_same(published):
    ours = Tokenizer.from_str(released_tokenizer(published.dims, "test").decode())
    theirs = Tokenizer.from_str(published.tokenizer_json.decode())
    ids = [[i] for i in range(published.dims.n_vocab)]
    assert ours.decode_batch(ids) == theirs.decode_batch(ids)
    first_special = published.decoding.eot
    assert all(text == "" for text in ours.decode_batch(ids[first_special:]))


@pytest.mark.parametrize("n_vocab", [51_864, 51_865, 51_866])
def test_texts_become_openai_whispers_ids_and_come_back(formats, n_vocab):
    from whisper.tokenizer import get_tokenizer

    reference = get_tokenizer(n_vocab > 51_864, num_languages=100 if n_vocab == 51_866 else 99)
    ours = Tokenizer.from_str(released_tokenizer(formats.dims(n_vocab=n_vocab), "test").decode())
    for text in TEXTS:
        ids = ours.encode(text, add_special_tokens=False).ids
        assert ids == reference.encode(text)
        assert ours.decode(ids) == text
    wrapped = ours.encode("a").ids
    assert wrapped == [reference.sot, reference.no_timestamps, *reference.encode("a"), reference.eot]


def test_suppressed_ids_are_the_published_ones(published):
    assert suppress_ids(published.dims) == published.decoding.suppress
    assert begin_suppress_ids(published.dims) == published.decoding.begin_suppress


def test_unknown_vocabulary_has_no_released_tokenizer(formats):
    with pytest.raises(UnsafeInputError, match=r"no tokenizer\.json") as caught:
        released_tokenizer(formats.dims(n_vocab=1000), "folder")
    assert caught.value.place == "folder"

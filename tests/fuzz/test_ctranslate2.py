"""A thousand forged and damaged ``model.bin`` files: each is read, or refused by a typed error, in 100 ms."""

from __future__ import annotations


def test_a_thousand_files(fuzz):
    code, found = fuzz("ctranslate2", "--count", 1_000)
    assert found["bad"] == []
    assert code == 0
    assert found["ends"]["good"] > 50
    assert found["ends"]["weights do not fit"] > 50
    assert found["ends"]["not such a file"] > 200

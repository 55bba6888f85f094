"""Twenty thousand recipes from the schema and by damage: each is read, or refused by a typed error, in 100 ms."""

from __future__ import annotations


def test_twenty_thousand_recipes(fuzz):
    code, found = fuzz("recipes", "--count", 20_000)
    assert found["bad"] == []
    assert code == 0
    assert found["cases"] == 20_000
    # Not all end at the first hurdle.
    assert found["ends"]["good"] > 1_000
    assert found["ends"]["does not fit the model"] > 500
    assert found["ends"]["not by the schema"] > 4_000

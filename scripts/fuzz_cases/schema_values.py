"""Values that a JSON Schema allows, or that it just does not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MOST_ENTRIES = 4
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 10**30, 0.5, -0.0, 1e-320, 1e308),
    *(
        float("inf"),
        float("-inf"),
        float("nan"),
        "",
        " ",
        "null",
        "no",
        "1e3",
        "0x10",
        "auto",
        "cpu",
        "x" * 90,
        "y" * 3000,
    ),
    *("\u202e\u2066", "caf\u00e9", "\U0001f600", "\x1b[2J", "a\nb", "a: b", "- a", "#", "'", '"', "{}", "\ud800"),
    *([], [[]], [None], {}, {"": None}, {"pass": "fuse"}, {"pass": None}, {"pass": []}, ["*"]),
)


class Values:
    """A source of values for a schema.

    Args:
        rng: Decides everything.
        schema: The whole schema, in which references are looked up.
        texts: What to write where a key holds text of a kind that no schema tells, by the name of the key.
        slip: The share of values that are another than the schema asks for.
    """

    def __init__(
        self, rng: random.Random, schema: Mapping[str, Any], texts: Mapping[str, Sequence[str]], slip: float
    ) -> None:
        self._rng, self._schema, self._texts, self._slip = rng, schema, texts, slip
        self._makers: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._text,
            "integer": self._number,
            "number": self._number,
            "boolean": lambda *_: rng.random() < 0.5,
            "null": lambda *_: None,
        }

    def make(self) -> Any:
        """Return a whole document."""
        return self._value(self._schema, "")

    def _slips(self) -> bool:
        return self._rng.random() < self._slip

    def _value(self, schema: Mapping[str, Any], key: str) -> Any:
        if self._slips():
            return self._rng.choice(_ODD)
        schema = self._chosen(schema)
        if "const" in schema or "enum" in schema:
            return self._rng.choice(schema.get("enum") or [schema["const"]])
        return self._makers[schema["type"]](schema, key)

    def _chosen(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a reference leads to, or one of several."""
        if "$ref" in schema:
            return self._chosen(self._schema["$defs"][schema["$ref"].rpartition("/")[2]])
        several = schema.get("anyOf") or schema.get("oneOf")
        return self._chosen(self._rng.choice(several)) if several else schema

    def _array(self, schema: Mapping[str, Any], key: str) -> list[Any]:
        least = schema.get("minItems", 0)
        n = self._rng.randint(least, max(least, _MOST_ENTRIES))
        return [self._value(schema["items"], key) for _ in range(n)]

    def _text(self, _: Mapping[str, Any], key: str) -> str:
        return self._rng.choice(self._texts.get(key, self._texts[""]))

    def _object(self, schema: Mapping[str, Any], _: str) -> dict[str, Any]:
        rng, required, made = self._rng, schema.get("required", []), {}
        for key, below in schema["properties"].items():
            if (key in required or rng.random() < 0.2) and not self._slips():
                made[self._misspelled(key) if self._slips() else key] = self._value(below, key)
        pairs = list(made.items())
        rng.shuffle(pairs)
        return dict(pairs)

    def _misspelled(self, key: str) -> str:
        rng = self._rng
        at = rng.randrange(len(key))
        return rng.choice(
            (key[:at] + key[at + 1 :], key[:at] + "_" + key[at:], key.upper(), key + " ", "", "\ud800", key * 50)
        )

    def _number(self, schema: Mapping[str, Any], _: str) -> int | float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -10))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2000))
        if schema["type"] == "integer":
            return self._rng.choice((low, high, self._rng.randint(low, high)))
        return self._rng.choice((low, high, self._rng.uniform(low, high)))

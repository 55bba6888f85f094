"""Recipes: half written from the schema, right or nearly so, half shipped ones whose bytes are damaged."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from fastwhisper_compress.recipe import find_recipe, json_schema, list_recipes
from fastwhisper_compress.recipe.yaml12 import MAX_BYTES
from fuzz_cases.bytewise import damaged
from fuzz_cases.schema_values import Values
from fuzz_cases.yaml_writing import written

_HUGE_ONE_IN = 500
_SLIPS = (0.0, 0.0, 0.01, 0.02, 0.05)

_PATTERNS = (
    *("*", "encoder", "decoder.layers.*", "encoder.layers.*.fc1", "*.self_attn", "decoder.embed_tokens", "*_attn"),
    *(r"re:decoder\.layers\.\d+\.encoder_attn\.[kv]_proj", "re:.*fc[12]", "re:(?i)ENCODER.*", "encoder.conv*"),
    *("re:(", "re:[", "re:*", "re:a{9999999999}", "re:[[a]", "re:(?<=a+)b", "re:" + "(" * 120 + ")" * 120, "re:\\"),
    *(
        "re:(a+)+b",
        "re:(.*)*x",
        "re:(.|.)*x",
        "re:" + "(.*)" * 12 + "x",
        "*a" * 60,
        "[",
        "[!]",
        "nowhere",
        "\u202e",
        "re:",
    ),
)
_TEXTS = {
    "": ("demo", "openai/whisper-tiny.en", "auto", "cpu", "a b", "../../x", "/etc/passwd", "\u00e9", "-", "t4", "#x"),
    "name": ("a", "int8_dynamic", "x.y-z", "0", "z" * 80, "A", "a/b", "..", "a" * 81),
    "targets": _PATTERNS,
    "ignore": _PATTERNS,
}
_WORDS = tuple(
    word.encode("utf-8", "surrogatepass")
    for word in (
        *(
            "\n",
            "\n\n",
            "\t",
            " ",
            "  ",
            ":",
            ": ",
            "- ",
            "? ",
            ", ",
            "[",
            "]",
            "{",
            "}",
            "#",
            "'",
            '"',
            "|",
            ">",
            "|9",
            ">-",
        ),
        *(
            "&a ",
            "*a",
            "!!python/object/apply:os.system ",
            "!x ",
            "!!binary ",
            "!<tag:yaml.org,2002:str> ",
            "%YAML 1.1\n",
        ),
        *(
            "%YAML 9999999999999999999999.1\n",
            "%TAG ! tag:x,2000:\n",
            "---\n",
            "...\n",
            "<<: ",
            "=",
            "@",
            "`",
            "\\",
            "~",
            "null",
        ),
        *(
            '"\\ud800"',
            '"\\U00110000"',
            '"\\UFFFFFFFF"',
            '"\\x1b"',
            '"\\\n',
            "\ud800",
            "\udfff",
            "\ufeff",
            "\u2028",
            "\u0085",
        ),
        *(
            "\u202e",
            "\u200b",
            "\u0301",
            "\U0010ffff",
            "\0",
            "\x1b[31m",
            "\x7f",
            "\x08",
            "\r",
            "\r\n",
            "1e999",
            "0x" + "f" * 60,
        ),
        *(
            ".inf",
            ".nan",
            "-0",
            "010",
            "0o8",
            "9" * 60,
            "1_000",
            "2001-01-01",
            "12:30:45",
            "no",
            "True",
            "[" * 40,
            "{" * 40,
        ),
        *(
            "- " * 40,
            "? " * 40,
            "[[" * 700,
            "{a: " * 300,
            "a" * 1100 + ": ",
            "\n    targets: [",
            "\n  - pass: fuse\n",
            "pass: ",
        ),
    )
)
_REPEATED = (
    *(
        "#\n",
        "\n",
        " ",
        "\t",
        "a",
        "a ",
        "a\n",
        "a: b\n",
        "a:\n",
        "- a\n",
        "- \n",
        "- ",
        "? ",
        "? a\n",
        "[",
        "{",
        "[a,",
        "a,",
        "],",
    ),
    *(
        '"',
        "'",
        '"\\\n',
        '"\\x41',
        "\\",
        "&a ",
        "*a ",
        "!a ",
        "%a\n",
        "---\n",
        "...\n",
        "|\n",
        " |\n a\n",
        "x: |\n",
        "\u00e9",
        "\U0001f600",
    ),
    *(
        "x: [a, a, a, a]\n",
        "x:\n  y: 1\n",
        "{a: ",
        "[a: b, ",
        ",",
        ":",
        ": ",
        "#",
        " #",
        "\u2028",
        "\r",
        "a:\n - b\n",
        "'' ",
        '"" ',
    ),
)


def recipe_case(seed: int) -> tuple[str, bytes]:
    """Return the suffix and the bytes of a recipe file."""
    rng = random.Random(f"recipe {seed}")  # noqa: S311 - reproducible, no secret
    if rng.randrange(_HUGE_ONE_IN) == 0:
        return ".yaml", _huge(rng)
    return ".yaml", _from_schema(rng) if seed % 2 else damaged(rng, rng.choice(_shipped()), _WORDS, _shipped())


def _from_schema(rng: random.Random) -> bytes:
    values = Values(rng, _schema(), _TEXTS, rng.choice(_SLIPS))
    return written(rng, values.make()).encode("utf-8", "surrogatepass")


def _huge(rng: random.Random) -> bytes:
    """As long a file as is read, or a little longer, of one thing over and over."""
    piece = rng.choice(_REPEATED).encode()
    beginning = rng.choice((b"", b"version: 1\nname: a\npasses:\n", b"passes: [", b'"', b"a: ", b"|\n "))
    return beginning + piece * ((MAX_BYTES - len(beginning)) // len(piece) + rng.randrange(2))


@cache
def _shipped() -> tuple[bytes, ...]:
    return tuple(find_recipe(name).read_bytes() for name in list_recipes())


@cache
def _schema() -> dict[str, Any]:
    return json_schema()

"""What YAML does to people, and what people do to YAML."""

from __future__ import annotations

import math
import time

import pytest

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe import load_recipe
from fastwhisper_compress.recipe.yaml12 import parse

HEAD = "version: 1\nname: x\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),  # Norway, not False
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("1e-3", 1e-3),  # a number, though YAML 1.1 says text
        ("1.", 1.0),
        (".5", 0.5),
        ("1_000", "1_000"),  # text, though YAML 1.1 says a thousand
        ("010", 10),  # ten, not eight
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("+7", 7),
        ("12:30:45", "12:30:45"),  # text, not base 60
        ("2024-01-01", "2024-01-01"),  # text, not a date
        ("~", None),
        ("", None),
        ("Null", None),
        ("-.inf", -math.inf),
        ('"no"', "no"),
        ('"1"', "1"),
        ("'null'", "null"),
        ("v1.2", "v1.2"),
        ("=", "="),
        ("1" * 10_000, "1" * 10_000),  # converting long digit strings is slow; nobody means one
        ("١٢", "١٢"),  # digits of another script are no number
    ],
)
def test_scalars_are_those_of_the_core_schema(text, value):
    read = parse(f"key: {text}\n", "x").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_read_as_one():
    assert math.isnan(parse("key: .nan", "x").value["key"])


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "x.yaml", "the recipe is empty"),
        ("# only a comment\n", "x.yaml", "the recipe is empty"),
        ("---\n...\n", "x.yaml", "the recipe is empty"),
        ("- version: 1\n", "x.yaml:1:1", "'recipe' must be a mapping of keys to values, not a list"),
        ("just words\n", "x.yaml:1:1", "'recipe' must be a mapping of keys to values, not 'just words'"),
        ("42\n", "x.yaml:1:1", "'recipe' must be a mapping of keys to values, not 42"),
        (HEAD + "name: y\npasses: []\n", "x.yaml:3:1", "the key 'name' stands twice, first at x.yaml:2:1"),
        (HEAD + '"name": y\npasses: []\n', "x.yaml:3:1", "the key 'name' stands twice, first at x.yaml:2:1"),
        (HEAD + "passes:\n\t- pass: fp16\n", "x.yaml:4:1", "not valid YAML: a tab where only spaces may indent"),
        (HEAD + "passes: [\n", "x.yaml:4:1", "not valid YAML: expected the node content, but found '<stream end>'"),
        (HEAD + "description: a: b\n", "x.yaml:3:15", "not valid YAML: a ':' that belongs to no key"),
        (HEAD + "passes:\n- pass: fp16\n  targets: [*_attn]\n", "x.yaml:5:13", "an anchor (&name) or alias (*name)"),
        (HEAD + "model: &m tiny\npasses: []\n", "x.yaml:3:8", "an anchor (&name) or alias (*name)"),
        (HEAD + "passes:\n- {pass: fp16, targets: *}\n", "x.yaml:4:", ""),
        (HEAD + "model: @tiny\n", "x.yaml:3:8", "not valid YAML: the character '@' needs quotes here"),
        (HEAD + "model: !!python/object/apply:os.system [id]\n", "x.yaml:3:8", "python/object/apply:os.system'"),
        (HEAD + "model: !tiny x\n", "x.yaml:3:8", "the tag '!tiny' is not allowed"),
        (HEAD + "seed: !!int '3'\n", "x.yaml:3:7", "the tag"),
        (HEAD + "--- \n" + HEAD, "x.yaml:3:1", "a second document is not allowed"),
        ("%YAML 1.1\n---\n" + HEAD, "x.yaml:2:1", "a %YAML directive other than 1.2"),
        ("? [a, b]\n: c\n", "x.yaml:1:3", "a key that is a list or a mapping"),
        ("<<: {version: 1}\nname: x\nversion: 1\npasses: []\n", "x.yaml:1:1", "unknown key '<<'"),
        ("1: a\n" + HEAD + "passes: []\n", "x.yaml:1:1", "unknown key '1'"),
        (": a\n" + HEAD + "passes: []\n", "x.yaml:1:1", "unknown key ''"),
        (HEAD + "passes: " + "[" * 16_000, "x.yaml:3:21", "nesting deeper than 12 levels"),
        ("{a: " * 4_000, "x.yaml:1:49", "nesting deeper than 12 levels"),
        ("- " * 8_000, "x.yaml:1:25", "nesting deeper than 12 levels"),
        ("".join(f"a{i}: b\n" for i in range(3_000))[:16_000], "x.yaml:600:7", "more than 600 values"),
        ("passes: [" + "a, " * 1_001 + "]\n", "x.yaml:1:1804", "more than 600 values"),
        ("a: b\n" * 3_000, "x.yaml:22:1", "more than 20 repeated keys"),
        (HEAD + 'model: "\\U00110000"\n', "x.yaml", "not valid YAML: a character or a version with a number"),
        (HEAD + 'model: "\\UFFFFFFFF"\n', "x.yaml", "not valid YAML: a character or a version with a number"),
        (
            "%YAML 1." + "9" * 5_000 + "\n---\n" + HEAD,
            "x.yaml",
            "not valid YAML: a character or a version with a number",
        ),
        ("? " * 8_000, "x.yaml:1:3", "a key that is a list or a mapping"),
        ("#" * (16 * 1024 + 1), "x.yaml", "the file is larger than 16 KiB"),
        (b"version: 1\nname: caf\xe9\n", "x.yaml:2", "byte 20 is not UTF-8"),
        ("version: 1".encode("utf-16"), "x.yaml:1", "byte 0 is not UTF-8"),
        (b"\n\xff", "x.yaml:2", "byte 1 is not UTF-8"),
        ("version: 1\nname: \x00\n", "x.yaml", "not valid YAML: unacceptable character #x0000"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "x.yaml:1", "byte 0 is not UTF-8"),
    ],
)
def test_traps_are_refused_at_their_place(write, text, place, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(text))
    assert caught.value.place is not None
    assert caught.value.place.startswith(place)
    assert message in caught.value.message
    assert caught.value.remedy


def test_an_alias_bomb_is_refused_before_it_grows(write):
    levels = "\n".join(f"k{index}: &a{index} [{', '.join([f'*a{index - 1}'] * 9)}]" for index in range(1, 30))
    start = time.perf_counter()
    with pytest.raises(RecipeError, match="anchor"):
        load_recipe(write("k0: &a0 [lol]\n" + levels))
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", "---\n", "%YAML 1.2\n---\n"])
def test_harmless_variants_are_read(write, start, newline):
    text = (start + HEAD + "passes:\n  - pass: fuse\n").replace("\n", newline)
    assert load_recipe(write(text.encode())).recipe.passes[0].pass_ == "fuse"


def test_the_first_of_two_equal_keys_counts_and_both_are_checked(write):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(HEAD + "passes:\n- pass: fp16\n  targets: [3]\n  targets: [a]\n"))
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    twice, wrong = caught.value.__cause__.exceptions
    assert "stands twice" in str(twice)
    assert str(wrong).startswith("x.yaml:5:13: 'targets[0]' must be text, not 3")

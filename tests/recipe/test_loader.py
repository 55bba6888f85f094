from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path

import pytest

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe import Fp16, Fuse, Int8Dynamic, Prune, WeightOnly, load_recipe
from fastwhisper_compress.recipe.yaml12 import MAX_BYTES

MIXED = """\
version: 1
name: mixed
description: text
model: openai/whisper-base
suite: demo
provider: cpu
threads: 2
passes:
  - pass: int8_dynamic
    targets: ["*"]
    ignore: ["*_attn"]
  - pass: fp16
    targets:
      - "*_attn"
      - encoder.conv*
  - pass: weight_only
    bits: 4
    targets: [re:decoder\\.embed.*]
  - pass: prune
    granularity: heads
    amount: 0.25
  - pass: fuse
gate: {token_agreement: 0.9}
"""


def problem(write, text, overrides=()):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(text), overrides)
    return caught.value


def test_a_recipe_is_read_with_its_defaults(write):
    recipe = load_recipe(write(MIXED)).recipe
    assert recipe.passes == [
        Int8Dynamic(ignore=["*_attn"]),
        Fp16(targets=["*_attn", "encoder.conv*"]),
        WeightOnly(bits=4, group_size=32, symmetric=True, targets=[r"re:decoder\.embed.*"]),
        Prune(method="l1", granularity="heads", amount=0.25),
        Fuse(),
    ]
    assert recipe.gate is not None
    assert (recipe.threads, recipe.revision, recipe.seed, recipe.gate.token_agreement) == (2, None, 0, 0.9)


def test_places_are_those_of_the_file(write):
    loaded = load_recipe(write(MIXED))
    assert loaded.where(("passes", 1, "targets", 1)) == "x.yaml:15:9"
    assert loaded.where(("passes", 0, "pass")) == "x.yaml:9:11"
    assert loaded.where(("gate", "token_agreement")) == "x.yaml:23:25"
    assert loaded.where(("passes", 4, "targets", 0)) == "x.yaml:22:5"  # not written: the pass
    assert loaded.where(("seed",)) == "x.yaml:1:1"  # not written: the recipe


def test_a_file_elsewhere_is_called_by_its_whole_path(write, tmp_path, monkeypatch):
    path = tmp_path / write(MIXED)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert load_recipe(path).where(("version",)) == f"{path}:1:10"
    assert load_recipe(Path("..") / "x.yaml").recipe == load_recipe(path).recipe


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("int8_dynamic", "int8_dynamc", "x.yaml:9:11: unknown pass 'int8_dynamc'\n  remedy: did you mean 'int8_dynamic'?"),
        ("int8_dynamic", "3", "x.yaml:9:11: unknown pass 3\n  remedy: known are fp16, int8_dynamic"),
        ("int8_dynamic", "[fp16]", "x.yaml:9:11: unknown pass a list"),
        ("int8_dynamic", "", "x.yaml:9:5: unknown pass nothing"),
        ("- pass: fuse", "- {}", "x.yaml:22:5: the key 'pass', which says what to do, is missing\n  remedy: known passes"),
        ("- pass: fuse", "- fuse", ("x.yaml:22:5: 'passes[4]' must be a mapping of keys to values, not 'fuse'\n"
         "  remedy: write '- pass: fuse'")),
        ("- pass: fuse", "-", "x.yaml:22:4: 'passes[4]' must be a mapping of keys to values, not nothing"),
        ("suite:", "siute:", "x.yaml:5:1: unknown key 'siute'\n  remedy: did you mean 'suite'?"),
        ("suite:", "zzz:", "x.yaml:5:1: unknown key 'zzz'\n  remedy: known are version, name, description, model"),
        ("bits: 4", "bits: 4\n    groupsize: 64", "x.yaml:18:5: unknown key 'groupsize'\n  remedy: did you mean 'group_size'?"),
        ("token_agreement", "tokens", "x.yaml:23:7: 'token_agreement' is missing"),
        ("bits: 4", "group_size: 32", "x.yaml:16:5: 'bits' is missing\n  remedy: add it. Bits per weight: 4 or 8."),
        ("bits: 4", "bits: 5", "x.yaml:17:11: 'bits' must be 4 or 8, not 5\n  remedy: Bits per weight"),
        ("bits: 4", "bits: four", "x.yaml:17:11: 'bits' must be a whole number, not \"four\""),
        ("bits: 4", "bits: 4.0", "x.yaml:17:11: 'bits' must be a whole number, not 4.0"),
        ("bits: 4", "bits: 8\n    group_size: 48", "x.yaml:18:17: 'group_size' must be 16, 32, 64, 128 or 256, not 48"),
        ("bits: 4", "bits: 8\n    symmetric: yes", ("x.yaml:18:16: 'symmetric' must be true or false, not 'yes'\n"
         "  remedy: YAML 1.2 writes true and false")),
        ("version: 1", "version: true", "x.yaml:1:10: 'version' must be a whole number, not true"),
        ("version: 1", "version: 2", "x.yaml:1:10: 'version' must be 1, not 2"),
        ("version: 1\n", "", "x.yaml:1:1: 'version' is missing"),
        ("name: mixed", "name: 8", "x.yaml:2:7: 'name' must be text, not 8\n  remedy: quote it: \"8\""),
        ("name: mixed", "name: ../../x", "x.yaml:2:7: 'name' is not well formed: '../../x'\n  remedy: Short name: lower"),
        ("name: mixed", "name: " + "x" * 81, "x.yaml:2:7: 'name' is too long: at most 80 characters"),
        ("name: mixed", "name:", "x.yaml:2:1: 'name' must be text, not nothing"),
        ("model: openai/whisper-base", 'model: ""', "x.yaml:4:8: 'model' must not be empty"),
        ("provider: cpu", "provider: cdua", ("x.yaml:6:11: 'provider' must be 'cpu' or 'cuda', not 'cdua'\n"
         "  remedy: did you mean 'cuda'?")),
        ("threads: 2", "threads: 0", "x.yaml:7:10: 'threads' must be at least 1, not 0"),
        ("threads: 2", "threads: 2.5", "x.yaml:7:10: 'threads' must be a whole number, not 2.5"),
        ("threads: 2", "threads: two", ("x.yaml:7:10: 'threads' must be a whole number, not 'two'\n"
         "  remedy: write the number without quotes")),
        ("threads: 2", "batch_size: 0", "x.yaml:7:13: 'batch_size' must be at least 1, not 0"),
        ("threads: 2", "batch_size: 2.5", "x.yaml:7:13: 'batch_size' must be a whole number, not 2.5"),
        ("threads: 2", "batch_size: atuo", ("x.yaml:7:13: 'batch_size' must be 'auto', not 'atuo'\n"
         "  remedy: did you mean 'auto'?")),
        ("amount: 0.25", "amount: 1", "x.yaml:21:13: 'amount' must be below 1, not 1"),
        ("amount: 0.25", "amount: 0", "x.yaml:21:13: 'amount' must be above 0, not 0"),
        ("amount: 0.25", "amount: .inf", "x.yaml:21:13: 'amount' must be a finite number, not Infinity"),
        ("amount: 0.25", "amount: 1e999", "x.yaml:21:13: 'amount' must be a finite number, not Infinity"),
        ("amount: 0.25", "amount: 25%", "x.yaml:21:13: 'amount' must be a number, not '25%'"),
        ("granularity: heads", "granularity: head", ("x.yaml:20:18: 'granularity' must be 'unstructured', '2:4', 'heads' or 'ffn', "
         "not 'head'\n  remedy: did you mean 'heads'?")),
        ("0.9}", "90}", "x.yaml:23:25: 'token_agreement' must be at most 1, not 90"),
        ('ignore: ["*_attn"]', "ignore: encoder", ("x.yaml:11:13: 'ignore' must be a list, not 'encoder'\n"
         '  remedy: write it as a list: ["encoder"]')),
        ('targets: ["*"]', "targets: []", "x.yaml:10:14: 'targets' must not be empty"),
        ('targets: ["*"]', 'targets: [""]', "x.yaml:10:15: 'targets[0]' must not be empty"),
        ('targets: ["*"]', "targets: [true]", "x.yaml:10:15: 'targets[0]' must be text, not true"),
        ('targets: ["*"]', 'targets: ["re:("]', "x.yaml:10:15: 'targets[0]' 're:(' is not a regular expression"),
        ("gate: {token_agreement: 0.9}", "gate: 0.9", "x.yaml:23:7: 'gate' must be a mapping of keys to values, not 0.9"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_place_and_remedy(write, old, new, text):
    assert old in MIXED
    error = problem(write, MIXED.replace(old, new, 1))
    problems = error.__cause__.exceptions if isinstance(error.__cause__, ExceptionGroup) else [error]
    assert any(str(each).startswith(text) for each in problems), str(error)
    assert all(each.remedy for each in problems)


def test_all_problems_are_reported_together(write):
    error = problem(write, MIXED.replace("suite", "siute").replace("bits: 4", "bits: 5").replace("0.25", "2"))
    assert error.message.startswith("3 problems\n")
    assert error.place == "x.yaml"
    for place in ("x.yaml:5:1: unknown key", "x.yaml:17:11: 'bits'", "x.yaml:21:13: 'amount'"):
        assert place in error.message


def test_more_than_ten_problems_are_counted(write):
    error = problem(write, MIXED + "".join(f"unknown_{index}: 1\n" for index in range(25)))
    assert len(re.findall(r"unknown key", error.message)) == 10
    assert error.message.endswith("and 15 more")


def test_long_values_are_shortened(write):
    error = problem(write, MIXED.replace("provider: cpu", "provider: " + "x" * 5000))
    assert len(str(error)) < 400


@pytest.mark.parametrize("ref", ["int8_attn_fp16", "recipes/int8_attn_fp16.yaml"])
def test_recipes_are_found_by_name_and_by_path(repository, monkeypatch, ref):
    monkeypatch.chdir(repository)
    loaded = load_recipe(ref)
    assert loaded.recipe.name == "int8_attn_fp16"
    assert loaded.path.samefile(repository / "recipes" / "int8_attn_fp16.yaml")
    assert loaded.where(("version",)).startswith(f"recipes{os.sep}int8_attn_fp16.yaml:")


@pytest.mark.parametrize(
    ("ref", "message", "remedy"),
    [
        ("int8_atn_fp16", "no shipped recipe is called 'int8_atn_fp16'", "did you mean 'int8_attn_fp16'?"),
        (
            "qqq",
            "no shipped recipe is called 'qqq'",
            "known are bulk_large, distil_half_decoder, edge_tiny, elastic_1s",
        ),
        ("recipes/int8_dynamic.yaml", "there is no such recipe file", "called by its name alone: int8_dynamic"),
        ("nowhere/mine.yaml", "there is no such recipe file", "check the path"),
        (".", "this is not a file", "name a recipe file"),
        ("x" * 5000, "the recipe cannot be read: File name too long", "check the path"),
        ("x.yaml\0", "no shipped recipe is called 'x.yaml\\x00'", "known are"),
        ("x\0.yaml", "there is no such recipe file", "check the path"),
        ("", "no shipped recipe is called ''", "known are bulk_large, distil_half_decoder, edge_tiny, elastic_1s"),
    ],
)
def test_a_recipe_that_is_not_there(tmp_path, monkeypatch, ref, message, remedy):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(ref)
    assert caught.value.message == message
    assert remedy in str(caught.value.remedy)
    assert caught.value.place == ref[:200]  # a name may be as long as a file


def test_a_file_as_large_as_allowed_is_read(write):
    assert load_recipe(write(MIXED + "#" * (MAX_BYTES - len(MIXED)))).recipe.name == "mixed"


def test_of_a_large_file_only_the_beginning_is_read(write):
    name = write("")
    os.truncate(name, 32 * 1024**2)
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match="larger than 16 KiB"):
            load_recipe(name)
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


def test_a_file_without_suffix_is_read(write):
    assert load_recipe(write(MIXED, "mine")).recipe.name == "mixed"


def test_the_digest_depends_on_meaning_alone(write):
    digest = load_recipe(write(MIXED)).recipe.digest
    same = MIXED.replace("passes:", "seed: 0  # the default\npasses:").replace("threads: 2\n", "") + "threads: 0x2\n"
    assert load_recipe(write(same)).recipe.digest == digest
    assert digest.startswith("sha256:")
    assert load_recipe(write(MIXED), ["model=elsewhere/model", "suite=mine.jsonl"]).recipe.digest == digest
    for old, new in (("bits: 4", "bits: 8"), ("conv*", "conv1"), ("0.9", "0.8"), ("- pass: fuse\n", "[]\n")):
        changed = MIXED.replace(old, new) if new != "[]\n" else MIXED.replace("  - pass: fuse\n", "")
        assert load_recipe(write(changed)).recipe.digest != digest


def test_recipes_do_not_change(write):
    recipe = load_recipe(write(MIXED)).recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        recipe.passes[0].ignore = []


@pytest.mark.parametrize(
    "text",
    [
        "version: LONG\nname: a\npasses: []\n",
        "version: 1\nname: a\npasses: LONG\n",
        "version: 1\nname: LONG\npasses: []\n",
        "version: 1\nname: a\npasses: []\nLONG: 1\n",
        "version: 1\nname: a\npasses: []\nLONG: 1\nLONG: 1\n",
        "version: 1\nname: a\npasses: [{pass: LONG}]\n",
        "version: 1\nname: a\npasses: [{pass: fuse, targets: LONG}]\n",
        "version: [[LONG]]\nname: a\npasses: []\n",
        "version: !LONG 1\n",
        "%LONG\n",
        "LONG",
    ],
)
def test_what_is_long_is_not_repeated_whole(write, text):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(text.replace("LONG", "y" * 1_000)))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "text", ['version: "a\\x7f"', 'passes: [{pass: fuse, targets: "\\u202e\\ud800\\x9b"}]', "name: a\u202e"]
)
def test_what_a_terminal_would_obey_is_escaped(write, text):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(text + "\n"))
    assert str(caught.value).replace("\n", "").isprintable()
    assert str(caught.value).encode()

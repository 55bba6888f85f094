from __future__ import annotations

import pytest

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe import load_recipe

TEXT = """\
version: 1
name: x
passes:
  - pass: weight_only
    bits: 8
    targets: ["*"]
  - pass: fuse
gate:
"""


@pytest.mark.parametrize(
    ("override", "attribute", "value"),
    [
        ("passes.0.group_size=64", lambda recipe: recipe.passes[0].group_size, 64),
        ("passes.0.bits=4", lambda recipe: recipe.passes[0].bits, 4),
        ("passes.0.symmetric=false", lambda recipe: recipe.passes[0].symmetric, False),
        ("passes.0.targets.0=*.fc1", lambda recipe: recipe.passes[0].targets, ["*.fc1"]),
        ("passes.0.targets=[encoder, 're:.*fc1']", lambda recipe: recipe.passes[0].targets, ["encoder", "re:.*fc1"]),
        ("passes=[{pass: fp16}]", lambda recipe: [each.pass_ for each in recipe.passes], ["fp16"]),
        ("passes.1={pass: fp16}", lambda recipe: recipe.passes[1].pass_, "fp16"),
        ("model=openai/whisper-base", lambda recipe: recipe.model, "openai/whisper-base"),
        ("model=a=b", lambda recipe: recipe.model, "a=b"),
        ("model = /some/folder ", lambda recipe: recipe.model, "/some/folder"),
        ("suite=no", lambda recipe: recipe.suite, "no"),
        ('suite="1"', lambda recipe: recipe.suite, "1"),
        ("revision=", lambda recipe: recipe.revision, None),
        ("gate.token_agreement=8e-1", lambda recipe: recipe.gate.token_agreement, 0.8),
        ("gate=null", lambda recipe: recipe.gate, None),
        ("description=a: b # c", lambda recipe: recipe.description, "a: b # c"),
        ("seed=010", lambda recipe: recipe.seed, 10),
    ],
)
def test_overrides_set_values(write, override, attribute, value):
    loaded = load_recipe(write(TEXT), [override])
    assert attribute(loaded.recipe) == value
    assert loaded.overrides == (override,)


def test_later_overrides_win(write):
    assert load_recipe(write(TEXT), ["seed=1", "seed=2"]).recipe.seed == 2


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("passes.0.group_siz=64", "-o passes.0.group_siz: unknown key 'group_siz'\n  remedy: did you mean 'group_size'?"),
        ("passes.0.group_size=65", "-o passes.0.group_size: 'group_size' must be 16, 32, 64, 128 or 256, not 65"),
        ("passes.0.pass=fp61", "-o passes.0.pass: unknown pass 'fp61'\n  remedy: did you mean 'fp16'?"),
        ("passes.0.targets=[a, 3]", "-o passes.0.targets: 'targets[1]' must be text, not 3"),
        ("modle=x", "-o modle: unknown key 'modle'\n  remedy: did you mean 'model'?"),
        ("passes.2.bits=4", ("-o passes.2.bits: '2' is no position in 'passes', which has 2 entries\n"
         "  remedy: use a number from 0 to 1")),
        ("passes.-1.bits=4", "-o passes.-1.bits: '-1' is no position"),
        ("passes.first.bits=4", "-o passes.first.bits: 'first' is no position"),
        ("passes.²=4", "-o passes.²: '²' is no position"),
        ("passes." + "9" * 5000 + "=4", "-o passes.999"),
        ("passes.1.ignore.0=x", "-o passes.1.ignore.0: '0' is no position in 'passes.1.ignore', which has 0 entries\n  remedy: set the whole list"),
        ("name.x=1", "-o name.x: 'name' holds a single value, nothing called 'x'\n  remedy: set the value itself: -o name=..."),
        ("seed=1.5", "-o seed: 'seed' must be a whole number, not 1.5"),
        ("name=1", "-o name: 'name' must be text, not 1\n  remedy: quote it: \"1\""),
        ("passes=[{pass: fp16", "-o passes:1:13: not valid YAML"),
        ("passes={a: 1, a: 2}", "-o passes:1:8: the key 'a' stands twice"),
        ("passes=[*a]", "-o passes:1:2: an anchor (&name) or alias (*name)"),
        ("seed", "-o: 'seed' is not of the form key=value\n  remedy: for example -o passes.0.group_size=64"),
        ("=1", "-o: '=1' is not of the form key=value"),
        ("", "-o: '' is not of the form key=value"),
    ],
)  # fmt: skip
def test_wrong_overrides_are_named_as_options(write, override, text):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(TEXT), [override])
    error = caught.value
    problems = error.__cause__.exceptions if isinstance(error.__cause__, ExceptionGroup) else [error]
    assert any(str(each).startswith(text) for each in problems), str(error)
    assert all(each.remedy for each in problems)


def test_overrides_are_reported_with_the_problems_of_the_file(write):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(TEXT + "nam: y\n"), ["passes.7.bits=4", "seed=-1"])
    assert caught.value.message.startswith("3 problems\n")


def test_an_override_can_mend_a_recipe(write):
    assert load_recipe(write(TEXT.replace("bits: 8", "bits: 5")), ["passes.0.bits=4"]).recipe.passes[0].bits == 4


def test_overrides_of_a_list_are_refused(write):
    with pytest.raises(RecipeError, match="the recipe holds no keys"):
        load_recipe(write("words\n"), ["name=x"])

from __future__ import annotations

import pytest

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe import check_against, list_recipes, load_recipe

from .conftest import whisper_modules

HEAD = "version: 1\nname: x\npasses:\n"


@pytest.mark.parametrize("depths", [(3, 2), (4, 4), (32, 4), (1, 1)])
@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_fit_every_whisper(name, depths):
    loaded = load_recipe(name)
    if name == "distil_half_decoder" and depths[1] < 4:
        with pytest.raises(RecipeError, match="too few"):
            check_against(loaded, whisper_modules(*depths))
        return
    selections = check_against(loaded, whisper_modules(*depths))
    assert len(selections) == len(loaded.recipe.active)
    assert all(selections)


def test_two_precisions_for_one_module(write, modules):
    name = write(HEAD + '- pass: int8_dynamic\n- pass: fp16\n  targets: [encoder.conv1, "*.fc1"]\n')
    with pytest.raises(RecipeError) as caught:
        check_against(load_recipe(name), modules)
    assert str(caught.value).startswith(
        "x.yaml:6:28: 'fp16' claims 5 modules (encoder.layers.0.fc1, ...) that 'int8_dynamic' already claims at x.yaml:4:3\n"
    )
    assert "ignore" in str(caught.value.remedy)


def test_one_module_claimed_from_the_command_line(write, modules):
    name = write(
        HEAD
        + '- {pass: weight_only, bits: 4, targets: ["*.layers.*"]}\n- {pass: int8_dynamic, targets: [decoder.embed_tokens]}\n'
    )
    check_against(load_recipe(name), modules)
    with pytest.raises(RecipeError) as caught:
        check_against(load_recipe(name, ["passes.1.targets.0=encoder.layers.0.fc1"]), modules)
    assert str(caught.value).startswith(
        "-o passes.1.targets.0: 'int8_dynamic' claims encoder.layers.0.fc1 that 'weight_only' already claims at x.yaml:4:42"
    )


def test_pruning_and_precision_may_meet(write, modules):
    text = "- {pass: prune, granularity: ffn, amount: 0.1}\n- pass: fp16\n- pass: fuse\n"
    pruned, halved, fused = check_against(load_recipe(write(HEAD + text)), modules)
    assert set(pruned) < set(halved) & set(fused)


def test_everything_wrong_is_reported_together(write, modules):
    text = "- {pass: fp16, targets: [encodr, decoder]}\n- {pass: int8_dynamic, ignore: [nothing]}\n"
    with pytest.raises(RecipeError) as caught:
        check_against(load_recipe(write(HEAD + text)), modules)
    message = caught.value.message
    assert caught.value.place == "x.yaml"
    assert message.startswith("3 problems\n")
    for start in (
        "x.yaml:4:26: the pattern 'encodr'",
        "x.yaml:5:33: the pattern 'nothing'",
        "x.yaml:5:3: 'int8_dynamic' claims",
    ):
        assert start in message


def test_a_recipe_without_passes_compresses_nothing(write, modules):
    assert check_against(load_recipe(write("version: 1\nname: x\npasses: []\n")), modules) == ()


def test_groups_must_divide_the_ranks_of_the_same_modules(write, modules):
    text = "- {pass: low_rank, variance: 0.9, multiple_of: 48}\n- {pass: weight_only, bits: 4, targets: [%s]}\n"
    check_against(load_recipe(write(HEAD + text % "decoder.embed_tokens")), modules)
    with pytest.raises(RecipeError, match="ranks are multiples of 48, which groups of 32 do not divide") as caught:
        check_against(load_recipe(write(HEAD + text % "encoder")), modules)
    assert caught.value.place == "x.yaml:4:48"


def test_ranks_may_be_multiples_of_a_group(write, modules):
    text = "- {pass: low_rank, variance: 0.9, multiple_of: 64}\n- {pass: weight_only, bits: 4, group_size: 32}\n"
    assert len(check_against(load_recipe(write(HEAD + text)), modules)) == 2


def test_the_passes_after_dropped_layers_know_the_new_numbers(write, modules):
    text = "- {pass: prune, granularity: heads, amount: 0.1}\n- {pass: drop_layers, encoder_keep: [2]}\n- {pass: fp16, targets: [%s]}\n"
    pruned, dropped, halved = check_against(load_recipe(write(HEAD + text % "encoder.layers.0")), modules)
    assert "encoder.layers.2.self_attn" in pruned
    assert {path[:16] for path in dropped} == {"encoder.layers.0", "encoder.layers.1"}
    assert {path[:16] for path in halved} == {"encoder.layers.0"}
    with pytest.raises(RecipeError, match="matches no module") as caught:
        check_against(load_recipe(write(HEAD + text % "encoder.layers.2")), modules)
    assert caught.value.place == "x.yaml:6:26"


@pytest.mark.parametrize(
    ("kept", "place", "message"),
    [
        ("encoder_keep: [0, 3]", "x.yaml:5:41", "there is no layer 3 in the encoder, which has 3"),
        ("decoder_keep: [0, 2]", "x.yaml:5:41", "there is no layer 2 in the decoder, which has 2"),
        ("decoder_keep: [0, 1]", "x.yaml:5:3", "drop_layers keeps every layer"),
    ],
)
def test_layers_that_cannot_be_kept_or_dropped_are_named_with_their_place(write, modules, kept, place, message):
    text = f"- {{pass: prune, granularity: heads, amount: 0.1}}\n- {{pass: drop_layers, {kept}}}\n"
    with pytest.raises(RecipeError) as caught:
        check_against(load_recipe(write(HEAD + text)), modules)
    assert (caught.value.place, caught.value.message) == (place, message)


@pytest.mark.parametrize("earlier", ["fuse", "fp16"])
def test_layers_are_dropped_before_anything_is_chosen_for_them(write, modules, earlier):
    first, drop = f"- {{pass: {earlier}}}\n", "- {pass: drop_layers, decoder_keep: [1]}\n"
    other = "- {pass: int8_cross_kv}\n"
    check_against(load_recipe(write(HEAD + drop + first + other)), modules)
    with pytest.raises(RecipeError) as caught:
        check_against(load_recipe(write(HEAD + first + other + drop)), modules)
    assert caught.value.place == "x.yaml:6:3"
    assert caught.value.message.startswith("drop_layers ")
    assert f"'{earlier}'" in caught.value.message  # the first that is in the way
    elsewhere = first.replace("}", ", only_on: cuda}")
    check_against(load_recipe(write(HEAD + elsewhere + drop)), modules)

"""The margin of an elastic encoder context: where it comes from, and how one is found."""

from __future__ import annotations

import pytest
from small_whisper import small_checkpoint

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.pipeline.margins import Trial, best_margin, margin_s, measured_margins
from fastwhisper_compress.recipe import load_recipe


@pytest.mark.parametrize("model", ["openai/whisper-tiny.en", "openai/whisper-base"])
def test_the_measured_margins_are_those_of_these_weights(model):
    checkpoint = open_checkpoint(model, offline=True)
    assert margin_s(load_recipe("int8_elastic"), checkpoint) == measured_margins()[checkpoint.digest] > 0
    assert margin_s(load_recipe("int8_elastic", ("elastic_margin_s=7.5",)), checkpoint) == 7.5
    assert margin_s(load_recipe("int8_dynamic"), checkpoint) is None


def test_an_unmeasured_model_and_a_margin_without_effect_are_refused():
    with pytest.raises(RecipeError, match="no margin of an elastic encoder context was measured") as caught:
        margin_s(load_recipe("int8_elastic"), small_checkpoint(1))
    assert "int8_elastic.yaml:" in caught.value.place
    assert "`margin`" in caught.value.remedy
    with pytest.raises(RecipeError, match="no effect"):
        margin_s(load_recipe("fp32", ("elastic_margin_s=3",)), small_checkpoint(1))


def trial(margin, difference, rtfx=50.0):
    return Trial(margin, difference, None, 0, rtfx)


FULL = trial(None, 0.0, 30.0)


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial(4, 0.026), trial(6, 0.025), trial(8, 0.028)], 4),
        ([trial(4, 0.030), trial(6, 0.025), trial(8, 0.028)], 6),
        ([trial(4, 0.0, 20.0), trial(6, 0.025)], 6),  # the guard makes every clip again: nothing is won
        ([trial(4, 0.2), trial(6, 0.3)], None),
        ([trial(4, 0.0, 20.0)], None),
    ],
)
def test_the_smallest_margin_that_is_near_and_faster(trials, best):
    assert best_margin([FULL, *trials]) == best


def test_elastic_and_smooth_are_int8_dynamic_with_something_added():
    plain, elastic, smooth = (load_recipe(f"int8_{name}").recipe for name in ("dynamic", "elastic", "smooth"))
    assert elastic.passes == plain.passes
    assert [pass_ for pass_ in smooth.passes if pass_.pass_ != "smooth"] == plain.passes

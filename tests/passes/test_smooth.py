"""Smoothing moves outliers and changes nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_whisper import (
    made_up_statistics,
    opened,
    recipe_plan,
    small_checkpoint,
    speech_like,
    sqnr_db,
    uniform_plan,
)

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.apply import apply
from fastwhisper_compress.passes.statistics import input_of, readers
from fastwhisper_compress.recipe import Prune, Recipe, Smooth
from fastwhisper_compress.recipe.selectors import select

CHECKPOINT = small_checkpoint(decoder_layers=2)
PROMPT, TEXT = (257, 270), tuple(b"Ten words.")


def smoothed(*passes):
    return recipe_plan(CHECKPOINT, Recipe(version=1, name="test", passes=list(passes)))


def outputs(checkpoint, plan, folder):
    artifact = opened(checkpoint, plan, folder)
    encoded = artifact.encode([speech_like(0.9)], hidden=True)
    return encoded.hidden, artifact.forced_logits(encoded, PROMPT, TEXT)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("fuse", [True, False])
def test_the_network_computes_what_it_did(tmp_path, alpha, fuse):
    made = smoothed(Smooth(alpha=alpha))
    plan = uniform_plan(CHECKPOINT.dims, fuse=fuse)
    before = outputs(CHECKPOINT, plan, tmp_path / "before")
    after = outputs(made.checkpoint, replace(plan, hidden_scale=made.plan.hidden_scale), tmp_path / "after")
    for one, other in zip(before, after, strict=True):
        assert sqnr_db(one, other) > 100
    assert made.checkpoint.digest != CHECKPOINT.digest


def test_every_input_is_smoothed_but_those_that_cannot_be():
    divided = set(smoothed(Smooth()).statistics.divisors)
    left = set(readers(CHECKPOINT.dims)) - divided
    assert left == {"decoder.layer_norm", *(path for path in readers(CHECKPOINT.dims) if path.endswith("fc2"))}
    assert smoothed(Smooth(targets=["decoder.layers.1"])).plan.hidden_scale is None


def test_peaks_come_closer_and_the_statistics_follow_the_weights():
    before = made_up_statistics(CHECKPOINT.dims)
    made = smoothed(Smooth(alpha=0.5))
    source = "encoder.layers.0.final_layer_norm"
    peak = made.statistics.peak(source)
    assert peak.max() / np.median(peak) < 0.5 * before.peak(source).max() / np.median(before.peak(source))
    divisor = made.statistics.divisors[source]
    np.testing.assert_allclose(
        made.statistics.moment(source) * np.outer(divisor, divisor), before.moment(source), rtol=1e-4
    )
    weight = made.checkpoint.tensors["encoder.layers.0.fc1.weight"]
    np.testing.assert_allclose(weight, CHECKPOINT.tensors["encoder.layers.0.fc1.weight"] * divisor, rtol=1e-6)


def test_two_smoothings_add_up(tmp_path):
    made = smoothed(Smooth(alpha=0.3), Smooth(alpha=0.6))
    plan = uniform_plan(CHECKPOINT.dims)
    before = outputs(CHECKPOINT, plan, tmp_path / "before")
    after = outputs(made.checkpoint, replace(plan, hidden_scale=made.plan.hidden_scale), tmp_path / "after")
    assert all(sqnr_db(one, other) > 100 for one, other in zip(before, after, strict=True))


def test_without_calibration_it_is_refused_with_the_way_out():
    passes = [Smooth()]
    with pytest.raises(RecipeError, match="smooth needs to know") as caught:
        apply(CHECKPOINT, passes, [select(passes[0], modules(CHECKPOINT.dims))], "cpu")
    assert "--calibration" in caught.value.remedy
    assert caught.value.exit_code == 2


def test_pruned_heads_come_after_smoothing():
    heads = Prune(granularity="heads", amount=0.5)
    with pytest.raises(RecipeError, match="pruned") as caught:
        smoothed(heads, Smooth())
    assert "put the pass first" in caught.value.remedy
    assert smoothed(Smooth(), heads).applied[1].name == "prune"


def test_every_linear_has_its_input():
    assert input_of("encoder.layers.0.self_attn.k_proj") == "encoder.layers.0.self_attn_layer_norm"
    assert input_of("decoder.layers.0.encoder_attn.q_proj") == "decoder.layers.0.encoder_attn_layer_norm"
    assert input_of("decoder.layers.1.encoder_attn.v_proj") == "encoder.layer_norm"
    assert input_of("decoder.layers.1.encoder_attn.out_proj") == "decoder.layers.1.encoder_attn.out_proj"
    assert input_of("decoder.embed_tokens") == "decoder.layer_norm"

"""From a recipe's passes to a checkpoint and a plan."""

from __future__ import annotations

import pytest
from small_whisper import opened, recipe_plan, small_checkpoint, speech_like, write_artifact

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.emit.precision import FP16, FP32, INT8_DYNAMIC, Precision
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.apply import apply
from fastwhisper_compress.recipe import Fp16, Fuse, Int8Dynamic, Prune, Recipe, WeightOnly, find_recipe, load_recipe

CHECKPOINT = small_checkpoint()


def plan_of(*passes, provider="cpu"):
    return recipe_plan(CHECKPOINT, Recipe(version=1, name="test", passes=list(passes), provider=provider))


def test_every_pass_says_what_it_did():
    compressed = plan_of(
        Prune(granularity="heads", amount=0.5, targets=["encoder.layers.0.self_attn"]),
        Int8Dynamic(ignore=["*_attn"]),
        Fp16(targets=["*_attn"]),
        Fuse(targets=["*.fc1"]),
    )
    assert [(one.name, one.n_modules) for one in compressed.applied] == [
        ("prune", 1),
        ("int8_dynamic", 3 * 2 + 1),
        ("fp16", 2 * 4 + 8),
        ("fuse", 3),
    ]
    assert compressed.applied[0].note == "1 of 2 heads removed, 50.0%"
    plan = compressed.plan
    assert plan.of("decoder.layers.0.encoder_attn.k_proj") == FP16
    assert plan.of("decoder.embed_tokens") == INT8_DYNAMIC
    assert plan.of("encoder.conv1") == FP32
    assert plan.fuse == {"encoder.layers.0.fc1", "encoder.layers.1.fc1", "decoder.layers.0.fc1"}


def test_the_note_of_fp16_is_honest_about_the_cpu():
    assert "computed in FP32" in plan_of(Fp16()).applied[0].note
    assert "computed in FP16" in plan_of(Fp16(), provider="cuda").applied[0].note
    assert plan_of(Fp16(), provider="cuda").plan.provider == "cuda"


def test_weight_only_carries_its_settings():
    plan = plan_of(WeightOnly(bits=4, group_size=64, symmetric=False)).plan
    assert plan.of("decoder.layers.0.fc1") == Precision("weight_only", 4, 64, symmetric=False)


def test_the_checkpoint_that_went_in_is_left_alone():
    digest = small_checkpoint().digest
    compressed = plan_of(Prune(granularity="unstructured", amount=0.9), Prune(granularity="ffn", amount=0.5))
    assert CHECKPOINT.digest == digest
    assert compressed.checkpoint.digest != digest


def test_order_is_the_recipes():
    """Channels are judged by the weights as the pass before left them."""
    sparse, ffn = Prune(granularity="unstructured", amount=0.9), Prune(granularity="ffn", amount=0.5)
    one, other = plan_of(sparse, ffn).checkpoint, plan_of(ffn, sparse).checkpoint
    assert one.tensors["encoder.layers.0.fc1.weight"].shape == other.tensors["encoder.layers.0.fc1.weight"].shape
    assert one.digest != other.digest


def test_selections_must_match_the_passes():
    with pytest.raises(ValueError, match="zip"):
        apply(CHECKPOINT, [Fuse()], [], "cpu")


def test_pruning_and_quantising_go_together(tmp_path):
    compressed = plan_of(
        Prune(granularity="ffn", amount=0.4),
        Prune(granularity="heads", amount=0.5),
        WeightOnly(bits=4, group_size=32),
        Fuse(),
    )
    artifact = opened(compressed.checkpoint, compressed.plan, tmp_path / "a")
    assert artifact.transcribe(speech_like(0.5)).tokens
    # 256 channels less 40 % are 160: no group of 64 divides them, and the recipe is told so before anything is wrong.
    compressed = plan_of(Prune(granularity="ffn", amount=0.4), WeightOnly(bits=4, group_size=64))
    assert compressed.checkpoint.tensors["encoder.layers.0.fc2.weight"].shape == (128, 160)
    with pytest.raises(RecipeError, match="does not divide its 160 inputs") as caught:
        write_artifact(compressed.checkpoint, compressed.plan, tmp_path / "b")
    assert caught.value.place == "encoder.layers.0.fc2"


def test_int8_attn_fp16_leaves_nothing_in_fp32_but_norms():
    compressed = recipe_plan(CHECKPOINT, load_recipe(find_recipe("int8_attn_fp16")).recipe)
    rest = {m.kind for m in modules(CHECKPOINT.dims) if compressed.plan.of(m.path) == FP32}
    assert rest == {"attention", "layer_norm"}


def test_a_split_without_anything_to_split_is_refused():
    with pytest.raises(RecipeError, match="split_outliers has no effect") as caught:
        plan_of(Int8Dynamic(targets=["*_attn"], split_outliers=True))
    assert "*.fc2" in caught.value.remedy
    assert plan_of(Int8Dynamic(targets=["*.fc2"], split_outliers=True)).plan.of("encoder.layers.0.fc2").split_outliers

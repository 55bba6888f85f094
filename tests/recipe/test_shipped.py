from __future__ import annotations

import json

import pytest

from fastwhisper_compress.recipe import (
    PASSES,
    Recipe,
    check_against,
    find_recipe,
    json_schema_text,
    list_recipes,
    load_recipe,
)

FIRST_LINE = "# yaml-language-server: $schema=recipe.schema.json"


PRESETS = {
    "edge_tiny": ("openai/whisper-tiny.en", "cpu", 1),
    "service_small": ("openai/whisper-small", "cuda", 8),
    "bulk_large": ("openai/whisper-large-v3", "cuda", 16),
}


def test_the_shipped_recipes():
    eights = ["int8_attn_fp16", "int8_dynamic", "int8_elastic", "int8_smooth", "int8_weight_only"]
    shapes = ["distil_half_decoder", "low_rank_encoder", "prune_heads_ffn_20", "prune_l1_20"]
    learnt = ["elastic_1s", "int4_qat"]
    assert set(list_recipes()) == {"fp16", "fp32", "int4_weight_only", *eights, *shapes, *learnt, *PRESETS}


@pytest.mark.parametrize("name", list_recipes())
def test_each_names_its_schema_itself_and_its_purpose(name):
    path = find_recipe(name)
    recipe = load_recipe(name).recipe
    assert path.read_text(encoding="utf-8").splitlines()[0] == FIRST_LINE
    assert recipe.name == name
    assert len(recipe.description) > 80
    model, provider, batch = PRESETS.get(name, ("openai/whisper-tiny.en", "cpu", 1))
    assert (recipe.model, recipe.suite, recipe.provider, recipe.batch_size) == (model, "demo", provider, batch)
    assert (recipe.device is not None) == (name in PRESETS)
    assert [pass_.pass_ for pass_ in recipe.passes].count("fuse") == 1


def claims(name, modules, *overrides):
    loaded = load_recipe(name, overrides)
    pairs = zip(loaded.recipe.active, check_against(loaded, modules), strict=True)
    return {path: pass_ for pass_, paths in pairs if pass_.stage == "precision" for path in paths}


@pytest.mark.parametrize("name", [name for name in list_recipes() if name.startswith(("fp16", "int"))])
def test_compressing_recipes_leave_no_weight_in_full_precision(name, modules):
    weights = {m.path for m in modules if m.kind in {"linear", "embedding", "conv", "positions"}}
    assert set(claims(name, modules)) == weights


def test_attention_keeps_half_precision_and_the_rest_runs_in_8_bits(modules):
    for path, pass_ in claims("int8_attn_fp16", modules).items():
        kept = "_attn." in path or "conv" in path or "positions" in path
        expected = "fp16" if kept else "int8_dynamic" if path.startswith("encoder.") else "weight_only"
        assert pass_.pass_ == expected, path


def test_four_bits_are_rounded_with_calibration(modules):
    claimed = {path: pass_ for path, pass_ in claims("int4_weight_only", modules).items() if pass_.pass_ != "fp16"}
    for path, pass_ in claimed.items():
        looks = path.startswith("decoder.layers.") and "_attn." in path
        assert (pass_.bits, pass_.method) == ((8, "nearest") if looks else (4, "gptq")), path
    groups = {path: pass_.group_size for path, pass_ in claimed.items()}
    assert groups.pop("decoder.embed_tokens") < min(groups.values()), "the logits need the finest steps"


def test_the_committed_schema_is_current(repository):
    committed = (repository / "recipes" / "recipe.schema.json").read_text(encoding="utf-8")
    assert committed == json_schema_text(), "run: python scripts/make_schema.py"


def test_the_schema_tells_editors_what_the_loader_holds_recipes_to():
    schema = json.loads(json_schema_text())
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert set(schema["required"]) == {"version", "name", "passes"}
    union = schema["properties"]["passes"]["items"]
    assert set(union["discriminator"]["mapping"]) == set(PASSES)
    for name, model in PASSES.items():
        definition = schema["$defs"][model.__name__]
        assert definition["additionalProperties"] is False
        assert definition["properties"]["pass"]["const"] == name
        assert definition["required"][0] == "pass"
    for definition in [schema, *schema["$defs"].values()]:
        assert all(key == "pass" or "description" in value for key, value in definition["properties"].items())


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_the_service_has_a_precision_for_every_weight_on_either_provider(modules, provider):
    weights = {m.path for m in modules if m.kind in {"linear", "embedding", "conv", "positions"}}
    claimed = claims("service_small", modules, f"provider={provider}")
    assert set(claimed) == weights
    assert {pass_.pass_ for pass_ in claimed.values()} <= (
        {"fp16"} if provider == "cuda" else {"int8_dynamic", "weight_only", "fp16"}
    )

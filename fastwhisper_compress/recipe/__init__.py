"""What the user asked for: recipes, from YAML to validated values."""

from __future__ import annotations

from fastwhisper_compress.recipe.base import BasePass
from fastwhisper_compress.recipe.catalog import find_recipe, list_recipes
from fastwhisper_compress.recipe.check import check_against
from fastwhisper_compress.recipe.learning import Distill, ElasticContext, Qat, Training
from fastwhisper_compress.recipe.loader import LoadedRecipe, load_recipe
from fastwhisper_compress.recipe.schema import (
    PASSES,
    Fp16,
    Fuse,
    Gate,
    Int8Dynamic,
    Pass,
    Recipe,
    Smooth,
    WeightOnly,
    json_schema,
    json_schema_text,
)
from fastwhisper_compress.recipe.selectors import select, select_all
from fastwhisper_compress.recipe.shapes import DropLayers, LowRank, Prune

__all__ = [
    "PASSES",
    "BasePass",
    "Distill",
    "DropLayers",
    "ElasticContext",
    "Fp16",
    "Fuse",
    "Gate",
    "Int8Dynamic",
    "LoadedRecipe",
    "LowRank",
    "Pass",
    "Prune",
    "Qat",
    "Recipe",
    "Smooth",
    "Training",
    "WeightOnly",
    "check_against",
    "find_recipe",
    "json_schema",
    "json_schema_text",
    "list_recipes",
    "load_recipe",
    "select",
    "select_all",
]

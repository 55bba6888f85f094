"""The recipes that ship with the package, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.messages import nearest
from fastwhisper_compress.resources import data_dir

if TYPE_CHECKING:
    from pathlib import Path


def list_recipes() -> dict[str, Path]:
    """The file of every shipped recipe under its name, in alphabetical order."""
    return {path.stem: path for path in sorted(data_dir("recipes").glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file of the shipped recipe called ``name``.

    Raises:
        RecipeError: if there is none; the remedy names the nearest.
    """
    recipes = list_recipes()
    if name not in recipes:
        raise RecipeError(f"no shipped recipe is called {name!r}", place=name, remedy=nearest(name, [*recipes]))
    return recipes[name]

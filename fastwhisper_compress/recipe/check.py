"""Whether a recipe fits a model: every pattern has an effect, and no two precisions claim the same weight."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.base import TargetedPass
from fastwhisper_compress.recipe.messages import combined
from fastwhisper_compress.recipe.selectors import matcher, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastwhisper_compress.recipe.base import ModuleLike
    from fastwhisper_compress.recipe.loader import LoadedRecipe


def check_against(loaded: LoadedRecipe, modules: Sequence[ModuleLike]) -> tuple[tuple[str, ...], ...]:
    """Check a recipe against the modules of a model.

    Returns:
        For every pass that runs on the recipe's provider, in order, the paths of the modules that it acts on.

    Raises:
        RecipeError: naming every pattern without effect and every module that two precision passes claim.
    """
    selections = {}
    problems: list[RecipeError] = []
    for index, pass_ in enumerate(loaded.recipe.passes):
        paths, found = resolve(pass_, modules, partial(_place, loaded, index))
        problems.extend(found)  # those of a pass for another provider too: a pattern without effect is a slip anywhere
        if pass_.runs_on(loaded.recipe.provider):
            selections[index] = paths
    problems.extend(_conflicts(loaded, selections))
    if problems:
        raise combined(problems, loaded.document.name)
    return tuple(selections.values())


def _place(loaded: LoadedRecipe, index: int, field: str, entry: int) -> str:
    return loaded.where(("passes", index, field, entry))


def _conflicts(loaded: LoadedRecipe, selections: Mapping[int, tuple[str, ...]]) -> list[RecipeError]:
    precisions = [index for index in selections if loaded.recipe.passes[index].stage == "precision"]
    problems = []
    for position, second in enumerate(precisions):
        for first in precisions[:position]:
            shared = [path for path in selections[second] if path in set(selections[first])]
            if shared:
                names = [loaded.recipe.passes[index].pass_ for index in (first, second)]
                problems.append(
                    RecipeError(
                        f"{names[1]!r} claims {_counted(shared)} that {names[0]!r} already claims at "
                        f"{_claim(loaded, first, shared[0])}",
                        place=_claim(loaded, second, shared[0]),
                        remedy="give each module one precision: add the pattern of one pass to the ignore list of the other",
                    )
                )
    return problems


def _claim(loaded: LoadedRecipe, index: int, path: str) -> str:
    """The place of the pattern by which a pass selects ``path``."""
    pass_ = loaded.recipe.passes[index]
    targets = pass_.targets if isinstance(pass_, TargetedPass) else []
    entry = next(entry for entry, pattern in enumerate(targets) if matcher(pattern)(path))
    return loaded.where(("passes", index, "targets", entry))


def _counted(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{len(paths)} modules ({paths[0]}, ...)"

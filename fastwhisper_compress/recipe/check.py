"""Whether a recipe fits a model: every setting has an effect, and no two precisions claim the same weight."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.base import TargetedPass
from fastwhisper_compress.recipe.messages import combined
from fastwhisper_compress.recipe.schema import WeightOnly
from fastwhisper_compress.recipe.selectors import matcher, resolve
from fastwhisper_compress.recipe.shapes import DropLayers, LowRank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastwhisper_compress.recipe.base import ModuleLike
    from fastwhisper_compress.recipe.loader import LoadedRecipe


def check_against(loaded: LoadedRecipe, modules: Sequence[ModuleLike]) -> tuple[tuple[str, ...], ...]:
    """Check a recipe against the modules of a model.

    Returns:
        For every pass that runs on the recipe's provider, in order, the paths of the modules that it acts on, by the
        numbers that their layers then have.

    Raises:
        RecipeError: naming every setting without effect and every module that two passes claim who cannot share it.
    """
    selections = {}
    problems: list[RecipeError] = []
    for index, pass_ in enumerate(loaded.recipe.passes):
        paths, found = resolve(pass_, modules, partial(_place, loaded, index))
        for misfit in pass_.misfits(modules):
            place = loaded.where(("passes", index, *misfit.setting))
            problems.append(RecipeError(misfit.message, place=place, remedy=misfit.remedy))
        problems.extend(found)  # those of a pass for another provider too: a pattern without effect is a slip anywhere
        if pass_.runs_on(loaded.recipe.provider):
            selections[index] = paths
            modules = pass_.leaves(modules)
    problems.extend(_conflicts(loaded, selections))
    problems.extend(_late(loaded, list(selections)))
    problems.extend(_odd_ranks(loaded, selections))
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


def _late(loaded: LoadedRecipe, running: Sequence[int]) -> list[RecipeError]:
    """Return the passes that renumber modules to which an operator or a precision was already given."""
    problems = []
    chosen = None
    for index in running:
        pass_ = loaded.recipe.passes[index]
        if pass_.stage != "weights":
            chosen = chosen or pass_.pass_
        elif chosen and isinstance(pass_, DropLayers):
            problems.append(
                RecipeError(
                    f"drop_layers gives new numbers to modules that {chosen!r} knows by the old ones",
                    place=loaded.where(("passes", index)),
                    remedy=f"put drop_layers before {chosen}",
                )
            )
    return problems


def _odd_ranks(loaded: LoadedRecipe, selections: Mapping[int, tuple[str, ...]]) -> list[RecipeError]:
    """Return the factorisations whose ranks the groups of a later weight_only might not divide."""
    problems = []
    for index, paths in selections.items():
        pass_ = loaded.recipe.passes[index]
        for second, other in selections.items():
            groups = loaded.recipe.passes[second]
            if (
                isinstance(pass_, LowRank)
                and isinstance(groups, WeightOnly)
                and pass_.multiple_of % groups.group_size
                and set(paths) & set(other)
            ):
                problems.append(
                    RecipeError(
                        f"ranks are multiples of {pass_.multiple_of}, which groups of {groups.group_size} do not divide",
                        place=loaded.where(("passes", index, "multiple_of")),
                        remedy=f"set multiple_of to {groups.group_size}, or give weight_only a smaller group_size",
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

"""Which modules a pass acts on.

A pattern is a glob on module paths in which ``*`` spans dots, or a regular expression after ``re:``. It selects a
module if it matches the module's path or the path of anything that contains the module, so that ``decoder`` and
``decoder.layers.3.self_attn`` select all that lies below. A pattern that has no effect is an error, never a shrug.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.base import BasePass, ModuleLike, TargetedPass
from fastwhisper_compress.recipe.patterns import REGEX, whole_match

Where = Callable[[str, int], str]
"""Names the place of a pattern: field (``targets`` or ``ignore``) and index to ``file:line:column``."""


def lineage(path: str) -> Iterator[str]:
    """A path and everything that contains it: ``a.b.c``, ``a.b``, ``a``."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def matcher(pattern: str) -> Callable[[str], bool]:
    """A predicate telling whether ``pattern`` selects the module at a path; see :func:`whole_match` for what it raises."""
    matches = whole_match(pattern)
    return lambda path: any(matches(part) for part in lineage(path))


def select(pass_: BasePass, modules: Sequence[ModuleLike]) -> tuple[str, ...]:
    """Paths of the modules that ``pass_`` acts on, in the order of ``modules``.

    Raises:
        RecipeError: for the first pattern without effect, or if nothing is left to act on.
    """
    paths, problems = resolve(pass_, modules, lambda field, index: f"{pass_.pass_}.{field}.{index}")
    if problems:
        raise problems[0]
    return paths


def select_all(passes: Iterable[BasePass], modules: Sequence[ModuleLike]) -> list[tuple[str, ...]]:
    """Paths of the modules that each of several passes acts on, by the numbers that their layers then have.

    Raises:
        RecipeError: for the first pattern without effect.
    """
    found = []
    for pass_ in passes:
        found.append(select(pass_, modules))
        modules = pass_.leaves(modules)
    return found


def resolve(
    pass_: BasePass, modules: Sequence[ModuleLike], where: Where
) -> tuple[tuple[str, ...], tuple[RecipeError, ...]]:
    """Like :func:`select`, but reports every problem instead of raising the first."""
    if not isinstance(pass_, TargetedPass):
        return tuple(module.path for module in pass_.acts_on(modules)), ()
    problems = []
    usable: dict[str, list[Callable[[str], bool]]] = {"targets": [], "ignore": []}
    for field, patterns in (("targets", pass_.targets), ("ignore", pass_.ignore)):
        for index, pattern in enumerate(patterns):
            place = where(field, index)
            try:
                problem = _without_effect(pattern, pass_, modules, place)
            except TimeoutError:
                problem = _too_slow(pattern, place)
            else:
                usable[field].append(matcher(pattern))
            if problem:
                problems.append(problem)
    paths = tuple(
        module.path
        for module in modules
        if pass_.takes(module)
        and any(matches(module.path) for matches in usable["targets"])
        and not any(matches(module.path) for matches in usable["ignore"])
    )
    if not paths and not problems:
        problems.append(
            RecipeError(
                f"the pass {pass_.pass_!r} has nothing to act on: ignore leaves out all that targets select",
                place=where("ignore", 0),
                remedy="narrow the ignore list or widen the targets",
            )
        )
    return paths, tuple(problems)


def _without_effect(pattern: str, pass_: BasePass, modules: Sequence[ModuleLike], place: str) -> RecipeError | None:
    matches = matcher(pattern)
    found = [module for module in modules if matches(module.path)]
    if any(pass_.takes(module) for module in found):
        return None
    remedy = _nearest(pattern, [module.path for module in modules if pass_.takes(module)])
    if not found:
        return RecipeError(f"the pattern {pattern!r} matches no module of this model", place=place, remedy=remedy)
    kinds = ", ".join(sorted({module.kind for module in found}))
    return RecipeError(
        f"the pattern {pattern!r} matches only modules that {pass_.pass_!r} cannot act on ({kinds}, "
        f"such as {found[0].path})",
        place=place,
        remedy=remedy,
    )


def _too_slow(pattern: str, place: str) -> RecipeError:
    return RecipeError(
        f"the pattern {pattern!r} takes too long to compare with the modules",
        place=place,
        remedy="write it without a repetition inside a repetition, or name the modules one by one",
    )


def _nearest(pattern: str, paths: Sequence[str]) -> str:
    """Advice: the valid path or glob that looks most like ``pattern``."""
    exact = {part for path in paths for part in lineage(path)}
    globs = {re.sub(r"\.\d+(?=\.|$)", ".*", path) for path in exact}
    tails = {"*." + path.rpartition(".")[2] for path in globs if not path.endswith("*")}
    wanted = pattern.removeprefix(REGEX).replace("\\", "")
    close = get_close_matches(wanted, sorted(exact | globs | tails), n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid paths look like {paths[0]!r}" if paths else "this model has no module that the pass could act on"

"""``-o key=value``: change a recipe from the command line before it is validated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.yaml12 import parse, scalar

if TYPE_CHECKING:
    from fastwhisper_compress.recipe.yaml12 import Document, Loc

_QUOTED_OR_FLOW = ("[", "{", '"', "'")


def apply_override(document: Document, override: str) -> None:
    """Set one value in ``document``; from then on its place is the option that set it.

    The key is a dotted path with list positions counted from 0 (``passes.0.group_size``); it may name a setting that
    the file leaves out. The value is read as in the file: ``no`` is text, ``1e-3`` a number, nothing at all is null;
    lists are written ``[a, b]``. Patterns need no quotes here, though ``*`` would start an alias in YAML.

    Raises:
        RecipeError: if the path leads nowhere or the value is not well formed.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    place = f"-o {key}"
    if not equals or not key:
        raise RecipeError(
            f"{override!r} is not of the form key=value", place="-o", remedy="for example -o passes.0.group_size=64"
        )
    text = text.strip()
    value: Any = scalar(text)
    if text.startswith(_QUOTED_OR_FLOW):
        parsed = parse(text, place)
        document.problems.extend(parsed.problems)
        value = parsed.value
    *above, last = _steps(document.value, key, place)
    parent = document.value
    for step in above:
        parent = parent[step]
    parent[last] = value
    loc: Loc = (*above, last)
    for known in [known for known in document.values if known[: len(loc)] == loc]:
        del document.values[known]
    document.values[loc] = document.keys[loc] = place


def _steps(node: Any, key: str, place: str) -> list[str | int]:
    """The keys and positions that a dotted path goes through; mappings that are left out are added on the way."""
    steps: list[str | int] = []
    parts = key.split(".")
    for depth, part in enumerate(parts):
        name = ".".join(parts[:depth])
        if isinstance(node, list):
            steps.append(_position(node, part, name, place))
            node = node[int(part)]
        elif isinstance(node, dict):
            steps.append(part)
            if depth < len(parts) - 1 and node.get(part) is None:
                node[part] = [] if parts[depth + 1].isdecimal() else {}
            node = node.get(part)
        else:
            raise RecipeError(
                f"{name!r} holds a single value, nothing called {part!r}" if name else "the recipe holds no keys",
                place=place,
                remedy=f"set the value itself: -o {name}=..." if name else "correct the recipe first",
            )
    return steps


def _position(entries: list[Any], part: str, name: str, place: str) -> int:
    if part.isascii() and part.isdecimal() and len(part) < 9 and int(part) < len(entries):
        return int(part)
    raise RecipeError(
        f"{part!r} is no position in {name!r}, which has {len(entries)} entries",
        place=place,
        remedy=f"use a number from 0 to {len(entries) - 1}" if entries else f"set the whole list: -o {name}=[...]",
    )

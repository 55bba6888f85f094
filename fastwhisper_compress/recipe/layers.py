"""The numbers of layers, where some are dropped and those behind them move up.

What stays is told by ``kept``: the numbers of the layers that stay, ascending, by ``encoder`` and ``decoder``. A side that
is not named keeps all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastwhisper_compress.recipe.base import ModuleLike

Kept = Mapping[str, Sequence[int]]

_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)(?=\.|$)")


def layer_of(path: str) -> tuple[str, int] | None:
    """Return the side and number of the layer that a module or tensor is in, None for what is in no layer."""
    found = _LAYER.match(path)
    return None if found is None else (found[1], int(found[2]))


def counted(modules: Sequence[ModuleLike]) -> dict[str, int]:
    """Count the layers of each side."""
    found = {layer for one in modules if (layer := layer_of(one.path))}
    return {side: sum(layer[0] == side for layer in found) for side in ("encoder", "decoder")}


def spread(count: int) -> tuple[int, ...]:
    """Return half of so many layers, as far apart as can be: of four or more, the first and the last among them."""
    left = max(1, count // 2)
    return tuple(round(one * (count - 1) / max(1, left - 1)) for one in range(left))


def renumbered(path: str, kept: Kept) -> str | None:
    """Return a path of a module or tensor under the number that its layer gets, None where the layer is dropped."""
    layer = layer_of(path)
    if layer is None or layer[0] not in kept:
        return path
    side, number = layer
    return _under(path, kept[side].index(number)) if number in kept[side] else None


def original(path: str, kept: Kept) -> str:
    """Return a path of what stayed under the number that its layer had: the inverse of :func:`renumbered`."""
    layer = layer_of(path)
    return path if layer is None or layer[0] not in kept else _under(path, kept[layer[0]][layer[1]])


def composed(first: Kept, then: Kept) -> dict[str, tuple[int, ...]]:
    """Return what two droppings keep together, by the numbers before both."""
    both = {side: tuple(first[side][number] for number in numbers) for side, numbers in then.items() if side in first}
    return {side: tuple(numbers) for side, numbers in {**first, **then}.items()} | both


def _under(path: str, number: int) -> str:
    return _LAYER.sub(rf"\g<1>.layers.{number}", path, count=1)

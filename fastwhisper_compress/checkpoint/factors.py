"""A linear kept as two: the names of its factors, and which tensor holds its inputs and which its outputs.

``{path}.low_rank.0.weight`` (rank, in) reads the input, ``{path}.low_rank.1.weight`` (out, rank) gives the output, and
the bias stays ``{path}.bias``. A factor has a path of its own, ``{path}.low_rank.0``; a recipe speaks of the module.
"""

from __future__ import annotations

from collections.abc import Container

_MARK = ".low_rank."


def factor_paths(path: str) -> tuple[str, str]:
    """Return the paths of a module's factors, in the order in which they are multiplied."""
    return f"{path}{_MARK}0", f"{path}{_MARK}1"


def owner(path: str) -> str:
    """Return the module that a factor belongs to; any other path is its own."""
    return path.partition(_MARK)[0]


def bias_name(path: str) -> str:
    """Return the tensor of a path's bias, which of a factorised module its second factor adds."""
    return f"{path.removesuffix(f'{_MARK}1')}.bias"


def is_factorised(names: Container[str], path: str) -> bool:
    """Say whether a module is kept as two."""
    return f"{factor_paths(path)[0]}.weight" in names


def parts(names: Container[str], path: str) -> tuple[str, ...]:
    """Return the paths that hold the weights of a linear: its own, or those of its factors."""
    return factor_paths(path) if is_factorised(names, path) else (path,)


def input_weight(names: Container[str], path: str) -> str:
    """Return the tensor whose columns are the inputs of a linear."""
    return f"{parts(names, path)[0]}.weight"


def output_weight(names: Container[str], path: str) -> str:
    """Return the tensor whose rows are the outputs of a linear."""
    return f"{parts(names, path)[-1]}.weight"

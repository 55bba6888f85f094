"""From a file or the name of a shipped recipe to a validated :class:`Recipe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.catalog import find_recipe, list_recipes
from fastwhisper_compress.recipe.messages import combined, translated
from fastwhisper_compress.recipe.overrides import apply_override
from fastwhisper_compress.recipe.schema import Recipe
from fastwhisper_compress.recipe.yaml12 import MAX_BYTES, Document, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastwhisper_compress.recipe.yaml12 import Loc

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe that remembers where each of its settings was written."""

    recipe: Recipe
    path: Path
    overrides: tuple[str, ...]
    document: Document

    def where(self, loc: Loc) -> str:
        """The place of a setting: ``where(("passes", 0, "targets", 1))`` is ``recipes/x.yaml:14:5``.

        Of a setting that is not written in the file, the place of what it belongs to; of one that was set on the
        command line, the option.
        """
        return self.document.where(loc)


def load_recipe(ref: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read and validate a recipe.

    Args:
        ref: A file, or the name of a shipped recipe. Text with a folder or ``.yaml`` in it is a file.
        overrides: Settings to change, each ``key=value`` (see :func:`apply_override`).

    Raises:
        RecipeError: listing everything that is wrong, each with its place and a remedy.
    """
    try:
        path = _found(ref)
        data = _bytes(path)
    except OSError as error:
        raise RecipeError(
            f"the recipe cannot be read: {error.strerror}",
            place=str(ref)[:200],
            remedy="check the path and its permissions",
        ) from error
    document = parse(_text(data, _display(path)), _display(path))
    if document.value is None:
        raise RecipeError(
            "the recipe is empty", place=document.name, remedy="start from `fastwhisper-compress recipes show fp32`"
        )
    problems = document.problems
    for override in overrides:
        try:
            apply_override(document, override)
        except RecipeError as error:
            problems.append(error)
    try:
        recipe = Recipe.model_validate(document.value)
    except ValidationError as error:
        problems.extend(translated(error, document))
    if problems:
        raise combined(problems, document.name)
    return LoadedRecipe(recipe, path, tuple(overrides), document)


def _found(ref: str | Path) -> Path:
    """The file that ``ref`` means."""
    path = Path(ref)
    if isinstance(ref, str) and path.suffix not in _SUFFIXES and path.name == ref and not path.is_file():
        return find_recipe(ref)
    if path.is_file():
        return path
    if path.exists():
        raise RecipeError("this is not a file", place=str(ref), remedy="name a recipe file (.yaml)")
    remedy = "check the path; `fastwhisper-compress recipes list` names the shipped recipes"
    if path.stem in list_recipes():
        remedy = f"check the path; the shipped recipe is called by its name alone: {path.stem}"
    raise RecipeError("there is no such recipe file", place=str(ref), remedy=remedy)


def _display(path: Path) -> str:
    """The path as short as it can be said from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _text(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise RecipeError(
            f"the file is larger than {MAX_BYTES // 1024} KiB", place=name, remedy="name a recipe; this is hardly one"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"byte {error.start} is not UTF-8", place=f"{name}:{line}", remedy="save the file as UTF-8"
        ) from None

"""Validation errors in plain sentences, each with its place in the file and a remedy."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe.schema import PASSES, Gate, Recipe
from fastwhisper_compress.recipe.yaml12 import LONGEST_QUOTE, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from fastwhisper_compress.recipe.yaml12 import Document, Loc

MAX_REPORTED = 10
_LONGEST_REASON = 400

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_SENTENCES = {
    "literal_error": "must be {expected}, not {value}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "too_long": "has too many entries: at most {max_length} are allowed",
    "string_too_long": "is too long: at most {max_length} characters are allowed",
    "string_pattern_mismatch": "is not well formed: {value}",
    "value_error": "{error}",
}
_UNQUOTED = {
    "bool_type": "YAML 1.2 writes true and false, without quotes",
    "int_type": "write the number without quotes and units",
    "float_type": "write the number without quotes and units",
}
_STRUCTURE = ("missing", "extra_forbidden", "union_tag_invalid", "union_tag_not_found")


def combined(problems: Sequence[RecipeError], name: str) -> RecipeError:
    """One error for all of a recipe's problems; ``__cause__`` holds them one by one if there are several."""
    if len(problems) == 1:
        return problems[0]
    shown = problems[:MAX_REPORTED]
    lines = [f"  {problem.place}: {problem.message}" + _aside(problem.remedy) for problem in shown]
    if len(problems) > len(shown):
        lines.append(f"  and {len(problems) - len(shown)} more")
    error = RecipeError(
        f"{len(problems)} problems\n" + "\n".join(lines),
        place=name,
        remedy="correct these places; `fastwhisper-compress schema` prints what a recipe may contain",
    )
    error.__cause__ = ExceptionGroup("problems of a recipe", list(problems))
    return error


def translated(error: ValidationError, document: Document) -> list[RecipeError]:
    """Every complaint of pydantic, in the order of the file's keys, with its place in ``document``."""
    return [_translate(details, document) for details in error.errors(include_url=False)]


def nearest(word: object, known: Sequence[str]) -> str:
    """Advice after an unknown word: the known one that looks most like it, or all of them."""
    close = get_close_matches(str(word), known, n=1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)


def _translate(details: ErrorDetails, document: Document) -> RecipeError:
    loc = _without_tag(details["loc"])
    model = _model_at(loc[:-1], document.value)
    description = _described(model, loc)
    if details["type"] in _STRUCTURE:
        loc, message, remedy = _structure(details, loc, model)
        remedy = f"{remedy}. {description}" if details["type"] == "missing" and description else remedy
    else:
        message = complaint(details, _label(loc))
        remedy = _advice(details, loc) or description or "see `fastwhisper-compress schema`"
    place = document.keys.get(loc) if details["type"] == "extra_forbidden" else None
    return RecipeError(message, place=place or document.where(loc), remedy=remedy)


def _structure(details: ErrorDetails, loc: Loc, model: type[BaseModel] | None) -> tuple[Loc, str, str]:
    """Keys and passes that are missing or unknown: where, what, and what to do."""
    match details["type"]:
        case "missing":
            return loc, f"{_label(loc)!r} is missing", "add it"
        case "extra_forbidden":
            return loc, f"unknown key {_label(loc)!r}", nearest(loc[-1], _keys(model))
        case "union_tag_invalid":
            name = details["input"]["pass"]
            return (*loc, "pass"), f"unknown pass {_shown(name)}", nearest(name, [*PASSES])
        case _:
            return loc, "the key 'pass', which says what to do, is missing", "known passes are " + ", ".join(PASSES)


def complaint(details: ErrorDetails, label: str) -> str:
    """What is wrong with the value that ``label`` names."""
    kind, context, value = details["type"], details.get("ctx", {}), _shown(details["input"])
    if kind in _EXPECTED:
        return f"{label!r} must be {_EXPECTED[kind]}, not {value}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{label!r} must be {words} {context[key]:g}, not {value}"
    if kind in _SENTENCES:
        sentence = _SENTENCES[kind].format(value=value, **context)
        return f"{label!r} {_printable(shortened(sentence, _LONGEST_REASON))}"
    return f"{label!r}: {details['msg']}"


def _advice(details: ErrorDetails, loc: Loc) -> str | None:
    """The remedy that follows from the value itself, where there is one better than describing the setting."""
    kind, value = details["type"], details["input"]
    if kind == "literal_error" and isinstance(value, str):
        close = get_close_matches(value, re.findall(r"'(.*?)'", details["ctx"]["expected"]), n=1)
        return f"did you mean {close[0]!r}?" if close else None
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'quote it: "{_shown(value)}"'
    if kind == "list_type" and isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return f"write it as a list: [{_printable(quoted) if len(quoted) <= LONGEST_QUOTE else '...'}]"
    if kind == "model_attributes_type" and value in tuple(PASSES):
        return f"write '- pass: {value}'"
    if kind in _UNQUOTED and isinstance(value, str):
        return _UNQUOTED[kind]
    return None if loc else "a recipe is a mapping such as 'name: my_recipe'"


def _without_tag(loc: tuple[str | int, ...]) -> Loc:
    """Pydantic names the member of a union inside the location; the file does not."""
    if loc[:1] == ("batch_size",):
        return loc[:1]
    return loc[:2] + loc[3:] if loc[:1] == ("passes",) else loc


def _label(loc: Loc) -> str:
    """What to call a value: its key, with the position for entries of a list."""
    if not loc:
        return "recipe"
    if isinstance(loc[-1], int):
        return f"{shortened(str(loc[-2]))}[{loc[-1]}]"
    return shortened(str(loc[-1]))


def _model_at(loc: Loc, value: Any) -> type[BaseModel] | None:
    """The model that describes the mapping at ``loc``."""
    if loc[:1] == ("passes",) and len(loc) >= 2:
        return PASSES.get(value["passes"][loc[1]]["pass"])
    if loc[:1] == ("gate",):
        return Gate
    return None if loc else Recipe


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _described(model: type[BaseModel] | None, loc: Loc) -> str | None:
    """What the schema says about a setting."""
    key = next((part for part in reversed(loc) if isinstance(part, str)), None)
    field = model.model_fields.get(key) if model and key else None
    return field.description if field else None


def _shown(value: Any) -> str:
    """A value as it would be written in YAML, shortened."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return shortened(repr(value) if isinstance(value, str) else json.dumps(value))


def _printable(text: str) -> str:
    """A text without what a terminal would obey: control characters, directions of writing, halves of characters."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _aside(remedy: str | None) -> str:
    return f" ({remedy.rstrip('.')})" if remedy else ""

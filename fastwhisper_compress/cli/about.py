"""The commands about recipes and about this installation."""

from __future__ import annotations

from typing import Annotated

import typer

from fastwhisper_compress.cli.app import (
    AsJson,
    Override,
    app,
    recipes_app,
    setting,
)
from fastwhisper_compress.cli.output import say, say_json


@app.command()
def validate(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe by name, or a file.")],
    model: Annotated[str | None, typer.Option(help="Check patterns against this checkpoint.")] = None,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Check a recipe, and its patterns against the model if that is on this machine."""
    from fastwhisper_compress.checkpoint.dims import modules
    from fastwhisper_compress.checkpoint.open import open_checkpoint
    from fastwhisper_compress.errors import HubUnavailableError
    from fastwhisper_compress.recipe import check_against, load_recipe

    overrides = [*(override or []), *([setting("model", model)] if model else [])]
    loaded = load_recipe(recipe, overrides)
    name, selected, why = loaded.recipe.model, None, None
    try:
        checkpoint = open_checkpoint(name, revision=loaded.recipe.revision, offline=True)
    except HubUnavailableError as error:
        if model:
            raise
        why = f"patterns not checked: {name} is not on this machine ({error.message})"
    else:
        selected = check_against(loaded, modules(checkpoint.dims))
    if as_json:
        paths = None if selected is None else [list(one) for one in selected]
        say_json({"valid": True, "model": name, "selected": paths, "not_checked": why})
        return
    say(f"{loaded.path}: valid")
    for index, pass_ in enumerate(loaded.recipe.active):
        say(f"  {pass_.pass_}" + ("" if selected is None else f": {len(selected[index])} modules of {name}"))
    if why:
        say(why)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes."""
    from fastwhisper_compress.recipe import json_schema_text

    say(json_schema_text(), nl=False)


@recipes_app.command(name="list")
def list_shipped(as_json: AsJson = False) -> None:
    """List the shipped recipes."""
    from fastwhisper_compress.recipe import list_recipes, load_recipe

    found = {name: load_recipe(path).recipe.description for name, path in list_recipes().items()}
    if as_json:
        say_json(found)
        return
    for name, description in found.items():
        say(f"{name}\n    {description}")


@recipes_app.command(name="show")
def show_shipped(name: Annotated[str, typer.Argument(help="Name of a shipped recipe.")]) -> None:
    """Print a shipped recipe."""
    from fastwhisper_compress.recipe import find_recipe

    say(find_recipe(name).read_text(encoding="utf-8"), nl=False)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this installation: packages, providers, weights, cache."""
    from fastwhisper_compress.doctor import examine

    found = examine()
    if as_json:
        say_json(found.to_json())
    else:
        for line in found.lines():
            say(line)
    if found.problem is not None:
        raise found.problem

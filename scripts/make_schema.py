"""Write recipes/recipe.schema.json from the recipe models. Run it after changing fastwhisper_compress/recipe/schema.py."""

from __future__ import annotations

from pathlib import Path

from fastwhisper_compress.recipe.schema import json_schema_text

if __name__ == "__main__":
    target = Path(__file__).resolve().parent.parent / "recipes" / "recipe.schema.json"
    target.write_text(json_schema_text(), encoding="utf-8", newline="\n")

"""README.md of the artifact folder: a model card with a front matter that model hubs read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastwhisper_compress.report.markdown import environment, key_figures

if TYPE_CHECKING:
    from fastwhisper_compress.report.model import Results
    from fastwhisper_compress.report.view import View

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def render_card(view: View, results: Results) -> str:
    """Return the model card. A model that was a local path is not named as a hub's base model."""
    front: list[tuple[str, str | list[str]]] = [
        ("library_name", "fastwhisper_compress"),
        ("pipeline_tag", "automatic-speech-recognition"),
        ("tags", ["whisper", "onnx", results.recipe.name]),
    ]
    if _HUB_ID.fullmatch(results.model.id):
        front.insert(0, ("base_model", results.model.id))
    return environment().get_template("card.md").render(view=view, front_matter=front, key_figures=key_figures(view))

"""report.md and the model card: the same words and numbers, for a terminal, a review or a repository page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from markupsafe import Markup

from fastwhisper_compress.report.html import TEMPLATES
from fastwhisper_compress.report.table import Table
from fastwhisper_compress.report.text import fenced, markdown, neutralise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from fastwhisper_compress.report.utterances import Diff
    from fastwhisper_compress.report.view import View


def _finalize(value: object) -> object:
    """Escape every text that a template prints, unless we made it."""
    return markdown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def table(content: Table) -> Markup:
    """A pipe table under its caption in bold; an empty cell stays a cell."""
    rule = ["--:" if content.is_number(column) else ":--" for column in range(len(content.head))]
    lines = [_line(content.head), "| " + " | ".join(rule) + " |", *(_line(row) for row in content.rows)]
    text = f"**{markdown(content.caption)}**\n\n" + "\n".join(lines)
    return Markup(f"{text}\n\n{markdown(content.note)}" if content.note else text)  # noqa: S704 -- every cell is escaped


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(markdown(cell)) for cell in cells) + " |"


def diff(parts: Sequence[Diff]) -> Markup:
    """Missed words struck out, made-up words in bold."""
    wrap = {"equal": "{}", "del": "~~{}~~", "ins": "**{}**"}
    texts = [wrap[part.op].format(markdown(part.text)) for part in parts if part.text.strip()]
    return Markup(" ".join(texts) or "(nothing)")  # noqa: S704 -- every part is escaped


def yaml(value: str | Sequence[str]) -> Markup:
    """A JSON string or list, which is also YAML."""
    clean = neutralise(value) if isinstance(value, str) else [neutralise(item) for item in value]
    quoted = (
        json.dumps(clean, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )
    return Markup(quoted)  # noqa: S704 -- JSON quotes it, and no reader that misses the front matter sees a tag


def environment() -> Environment:
    """The Markdown templates: every printed text is escaped for Markdown, an undefined name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 -- HTML escaping is not Markdown escaping; _finalize escapes instead
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(table=table, diff=diff, fenced=fenced, yaml=yaml)
    env.globals["raw"] = Markup
    return env


def key_figures(view: View) -> Table:
    """The cards of the page as a table."""
    rows = tuple(
        (f"{card.name} ({card.mark})" if card.mark else card.name, card.before, card.after, card.change)
        for card in view.cards
    )
    return Table("Key figures", ("", "FP32", "Candidate", "Change"), rows)


def render_markdown(view: View) -> str:
    """Return report.md."""
    return environment().get_template("report.md").render(view=view, key_figures=key_figures(view))

"""Reads pages as a browser and as a Markdown reader would, and refuses what is unsafe or broken."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr", "col"}


class Page(HTMLParser):
    """Checks nesting, and collects tags, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute stands twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text += data


def check_safe(text):
    parsed = Page(text)
    assert {tag for tag, _ in parsed.tags} & {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "img",
        "base",
        "form",
    } == set()
    for tag, attributes in parsed.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has a handler"
            if name in ("href", "xlink:href", "src", "action", "poster", "srcset", "data"):
                assert value.startswith("#"), f"{tag} loads {value}"
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    return parsed


def tables(markdown):
    """Every pipe table as lists of cells, cells split where Markdown splits them."""
    found, current = [], []
    for line in [*markdown.split("\n"), ""]:
        if line.startswith("|"):
            assert line.endswith(" |")
            current.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif current:
            found.append(current)
            current = []
    return found

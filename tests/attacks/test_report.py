"""Reports of a run in which nobody can be trusted: in a browser, and through a reader of Markdown."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

sys.path.append(str(Path(__file__).parent))
from browser import Shown, find_chromium, opened

from fastwhisper_compress.report import Results, verdict
from fastwhisper_compress.report.compare import compare

PHONE = 390  # CSS pixels
LONG = "W" * 3000
ATTACKS = (
    "</script><script>owned('script')</script>",
    "<img src=http://attacker.example/pixel onerror=owned('image')>",
    "<svg onload=owned('svg')><style>*{display:none}</style>",
    "</style><link rel=stylesheet href=http://attacker.example/css><base href=http://attacker.example/>",
    "\"' onmouseover=owned('attribute') x='",
    "[click](javascript:owned('link')) <a href='javascript:owned(1)'>here</a> <https://attacker.example/auto>",
    "![tracker](http://attacker.example/markdown.png) www.attacker.example @someone #1",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }} {% include '/etc/passwd' %} ${7*7}",
    "<iframe srcdoc='<script>parent.owned(1)</script>'></iframe><form action=//attacker.example>",
    "| a | b |\n| - | - |\n# heading\n```\ncode\n~~~\n---\n> quote\n1. list",
    "\u202eright to left\u202c \u2066isolate \x1b[31mred\x1b[0m \x07 \x00 \x9b2J \u2028 \ud800 &lt;b&gt; &#x3c;b&#x3e;",
    "<!-- --><![CDATA[x]]><?php system('id') ?><!DOCTYPE html>",
    LONG,
    "\u05d0" * 600 + " " + "\u4e2d" * 900 + " e" + "\u0301" * 500,
)
EVERYTHING = " ".join(ATTACKS)
# What a browser is to show of them, letter by letter.
SHOWN = (
    "</script><script>owned('script')</script>",
    "<img src=http://attacker.example/pixel onerror=owned('image')>",
    "[click](javascript:owned('link')) <a href='javascript:owned(1)'>here</a>",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }} {% include '/etc/passwd' %} ${7*7}",
    "⟨U+202E⟩right to left⟨U+202C⟩",
    "⟨U+001B⟩[31mred",
    "&lt;b&gt; &#x3c;b&#x3e;",
)
# Nothing in it may be of a kind that a page of ours has no use for, or lead or reach anywhere.
FOREIGN = """
[...document.querySelectorAll('*')].flatMap(node => {
  const found = []
  if (/^(script|iframe|object|embed|img|form|base|link|input|audio|video)$/i.test(node.tagName)) found.push(node.tagName)
  for (const {name, value} of node.attributes) {
    if (/^on/i.test(name)) found.push(name)
    if (/^(href|xlink:href|src|action)$/i.test(name) && !value.startsWith('#')) found.push(`${name}=${value}`)
  }
  return found
})
"""
OVERFLOW = """
document.querySelectorAll('details').forEach(one => one.open = true);
document.documentElement.scrollWidth
"""
CLICKED = "document.querySelectorAll('a, summary, [onmouseover]').forEach(one => one.click()); typeof owned"


def loaded(name):
    """A module of the report's own tests."""
    if (known := sys.modules.get(f"report_{name}")) is not None:
        return known
    path = Path(__file__).parents[1] / "report" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"report_{name}", path)
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])
    return sys.modules[spec.name]


builders = loaded("builders")


def hostile_changes(text):
    return {
        "recipe__name": text,
        "recipe__description": text,
        "recipe__overrides": [f"name={text}"],
        "recipe__passes": [{"pass": text, "targets": [text], "ignore": [text], text: text}],
        "model__id": text,
        "model__revision": text,
        "model__source_kind": text,
        "suite__name": text,
        "suite__license": text,
        "candidate__eval__failed": [{"id": text, "error": text}],
        "candidate__artifact__applied": [{"pass": text, "n_modules": 1, "note": text}],
        "candidate__artifact__fusions": {text: 1},
        "environment__cpu": text,
        "environment__platform": text,
        "environment__versions": {text: text},
        "environment__variables": {text: text},
        "environment__providers": [text],
        "delta__statement": text,
        "timings_s": {text: 1.0},
        "not_comparable_because": text,
        "comparable": False,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run all of whose texts are hostile."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    folder.mkdir()
    rows = [[builders.row(f"{i} {text}", f"{text} said", heard(text), (3, 0, 4), speaker=text)
             for i, text in enumerate([*ATTACKS, EVERYTHING])]
            for heard in (lambda text: "fine", lambda text: f"x {text}")]  # fmt: skip
    for one in rows[0]:
        one.update(substitutions=0, insertions=0)
    builders.rendered(folder, rows, **hostile_changes(EVERYTHING))
    data = builders.results_json(**hostile_changes(EVERYTHING))
    data["verdict"] = verdict(Results.from_json(data))
    Results.from_json(data).save(folder)
    return folder


@pytest.fixture(scope="module")
def comparison(run, tmp_path_factory):
    """The page that compares it with a run in a folder of a hostile name."""
    folder = tmp_path_factory.mktemp("names") / f"{ATTACKS[1].replace('/', '')} {ATTACKS[4]} \x1b[2J\u202e{LONG[:100]}"
    folder.mkdir()
    changes = hostile_changes(EVERYTHING) | {"comparable": True, "not_comparable_because": None}
    data = builders.results_json(**changes, model__digest="sha256:other")
    data["verdict"] = verdict(Results.from_json(data))
    Results.from_json(data).save(folder)
    out = tmp_path_factory.mktemp("comparison") / "out"
    compare([run, folder], out)
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed")
    with opened(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_the_browser_would_run_a_script_and_tell_of_a_request(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(f"<script>var owned = 1; alert</script><img src=http://attacker.example/x>{LONG}")
    shown = Shown(browser, page, PHONE)
    assert shown.evaluate("typeof owned") == "number"
    assert shown.evaluate(FOREIGN) == ["SCRIPT", "IMG", "src=http://attacker.example/x"]
    assert shown.evaluate(OVERFLOW) > PHONE
    asked = [event["request"]["url"] for event in shown.seen("Network.requestWillBeSent")]
    assert asked == [page.as_uri(), "http://attacker.example/x"]
    assert shown.seen("Network.loadingFailed"), "no request reaches anyone"


@pytest.mark.parametrize("page", ["run", "comparison"])
@pytest.mark.parametrize("width", [PHONE, 1280])
def test_a_hostile_page_is_text(browser, request, page, width):
    path = request.getfixturevalue(page) / "report.html"
    shown = Shown(browser, path, width)
    assert shown.evaluate(FOREIGN) == []
    assert shown.evaluate(CLICKED) == "undefined"
    assert shown.evaluate(OVERFLOW) <= width
    text = shown.evaluate("document.body.textContent")
    for attack in SHOWN:
        assert attack in text
    height = shown.evaluate("document.querySelector('main').getBoundingClientRect().height")
    assert height > 500, "the page is still there"
    assert [event["request"]["url"] for event in shown.seen("Network.requestWillBeSent")] == [path.as_uri()]
    assert shown.seen("Page.javascriptDialogOpening") == []
    assert shown.seen("Page.frameNavigated")[-1]["frame"]["url"].startswith(path.as_uri())


@pytest.mark.parametrize("page", ["run/report.md", "run/README.md", "comparison/report.md"])
def test_hostile_markdown_is_text(request, page):
    folder, name = page.split("/")
    source = (request.getfixturevalue(folder) / name).read_text(encoding="utf-8")
    if name == "README.md":
        source = source.split("---\n", 2)[2]
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = [inner for token in reader.parse(source) for inner in [token, *(token.children or [])]]
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "image", "link_open"}
    ours = {"report.html", "results.json", "fastwhisper_compress", "transcribe"}
    assert {token.content for token in tokens if token.type == "code_inline"} <= ours
    assert sum(token.type == "fence" for token in tokens) == (
        0 if folder == "comparison" else 1 + (name == "README.md")
    )
    text = "".join(token.content for token in tokens if token.type in ("text", "text_special"))
    for attack in SHOWN:
        assert " ".join(attack.split()) in text
    assert not set(source) & {"\u202e", "\x1b", "\x00", "\x9b", "\x07", "\u2066"}
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert "heading" not in headings

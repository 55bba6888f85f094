from __future__ import annotations

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwhisper_compress.report.text import fenced, markdown, neutralise

HOSTILE = st.text(
    st.one_of(
        st.sampled_from("|`*_<>&\\[]()#~$!@:/\n\r\t \u202e\u2066\u200f\u2028\x00\x1b\ud800-+.=1w"), st.characters()
    ),
    max_size=60,
)


def unescape(text: str) -> str:
    """What a CommonMark reader makes of escaped text: entities and backslashes resolved, nothing else left to resolve."""
    text = text.removeprefix("\u2068").removesuffix("\u2069")
    return "".join(
        html.unescape(part) if part.startswith("&") else part[1] if part.startswith("\\") else part
        for part in re.findall(r"&#?\w+;|\\[!-/:-@\[-`{-~]|.", text, re.DOTALL)
    )


@given(HOSTILE)
def test_markdown_reads_as_the_text_itself(text):
    assert unescape(markdown(text)) == " ".join(neutralise(text).split())


@given(HOSTILE)
def test_markdown_opens_nothing(text):
    escaped = str(markdown(text))
    assert not re.search(r"[\n\r|<>`]", escaped)
    assert not re.search(r"(?<!\\)(?:\\\\)*[*\[\]~$]", escaped.replace("\\\\", "")) or re.search(
        r"\\[*\[\]~$]", escaped
    )
    for bare in re.finditer(r"(\\*)([*\[\]~$!{}])", escaped):
        assert len(bare[1]) % 2 == 1
    assert "://" not in escaped
    assert not re.search(r"(?i)\bwww\.", escaped)


@given(HOSTILE)
def test_neutral_text_holds_no_acting_character(text):
    clean = neutralise(text)
    for char in clean:
        assert unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
    assert neutralise(clean) == clean
    clean.encode("utf-8")


def test_bidi_and_invisible_characters_are_shown():
    assert neutralise("a\u202eb\u2066c\u200bd\x1b[0m") == "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200B⟩d⟨U+001B⟩[0m"


def test_lines_become_spaces_and_ordinary_text_is_kept():
    assert neutralise("one\r\ntwo\tthree\u2028four") == "one  two three four"
    for text in ("naïve café, 北京, 🎧, مرحبا, हिन्दी", "can't — won't", "e\u0301"):
        assert neutralise(text) == text


def test_stacked_combining_marks_are_cut():
    assert neutralise("a" + "\u0301" * 50) == "a" + "\u0301" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int8_attn_fp16", "int8_attn_fp16"),
        ("__init__ *_attn", r"\_\_init\_\_ \*\_attn"),
        ("+0.73 pp", "+0.73 pp"),
        ("10.29 %", "10.29 %"),
        ("1. list", r"1\. list"),
        ("- list", r"\- list"),
        ("---", r"\---"),
        ("# head", r"\# head"),
        ("a|b", "a&#124;b"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("https://x.example", "https&#58;//x.example"),
        ("[a](javascript:x)", r"\[a\](javascript:x)"),
    ],
)
def test_markdown_examples(text, expected):
    assert str(markdown(text)) == expected


def test_right_to_left_text_is_isolated():
    word = "مرحبا"
    assert str(markdown(word)) == f"\u2068{word}\u2069"


def test_a_fence_outruns_its_content():
    block = fenced("echo ````\n```\u202e")
    lines = block.split("\n")
    assert lines[0] == "`````sh"
    assert lines[-1] == "`````"
    assert "\u202e" not in block

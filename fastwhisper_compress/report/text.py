"""Text that is not ours: transcripts, ids, file names, model names. Neutralised before it reaches a page.

Two dangers besides markup: control characters, and the Unicode characters that reorder or hide their neighbours (a right-to-left
override can make one transcript read as another). Both are replaced by a visible mark, so that the reader sees that something
stood there. Ordinary right-to-left text is kept, isolated from what surrounds it.
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup

from fastwhisper_compress.harmless import shown

# C0, C1, soft hyphen, Arabic letter mark, zero-width and bidi controls, line separators, BOM, fillers, surrogates, tag characters
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_STACKED = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
# An underscore between letters or digits is only an underscore in CommonMark, and names are full of them.
_MARKDOWN = re.compile(r"[\\`*\[\]<>&|~#$!@{}]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "`": "&#96;", "@": "&#64;"}
_ISOLATE, _POP = "\u2068", "\u2069"


def encodable(value: object) -> object:
    """Replace lone surrogates, which UTF-8 cannot say, in a text or anywhere inside lists and dictionaries.

    They come from undecodable file names, and one of them must not cost the report of a whole run.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return [encodable(item) for item in value] if isinstance(value, list | tuple) else value


def neutralise(text: str) -> str:
    """One line of text without characters that act on their surroundings.

    Line breaks and tabs become a space; every other control, bidi or invisible character becomes ``⟨U+202E⟩``. Combining marks
    beyond four on one letter are dropped (they would climb over the line above).
    """

    def visible(match: re.Match[str]) -> str:
        char = match.group()
        return " " if char in "\t\n\r\x0b\x0c\x85\u2028\u2029" else shown(char)

    return _STACKED.sub(r"\1", _UNSAFE.sub(visible, text))


def is_right_to_left(text: str) -> bool:
    """Tell whether any letter runs from right to left."""
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


def markdown(text: str) -> Markup:
    """Escape for the middle of a Markdown line or a table cell: it renders as exactly these characters.

    What could open HTML or end a table cell becomes an entity, which every Markdown dialect understands; the rest gets a
    backslash. Addresses are kept from turning into links.
    """
    text = " ".join(neutralise(text).split())
    isolated = is_right_to_left(text)
    text = _MARKDOWN.sub(lambda match: _ENTITIES.get(match.group(), "\\" + match.group()), text)
    text = re.sub(r":(?=//)", "&#58;", text)
    text = re.sub(r"(?i)\bwww\.", lambda match: match.group()[:-1] + "&#46;", text)
    text = re.sub(r"^(\d{1,9})([.)])(?=\s|$)", r"\1\\\2", text)  # a numbered list
    text = re.sub(r"^([-+])(?=\s|$)|^([-=])(?=[-=\s]*$)", r"\\\g<0>", text)  # a list, a rule, a heading's underline
    return Markup(f"{_ISOLATE}{text}{_POP}" if isolated else text)  # noqa: S704 -- escaped above


def fenced(code: str) -> Markup:
    """A command of one line as a code block, its fence longer than any run of backticks inside."""
    line = neutralise(code)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}sh\n{line}\n{fence}")  # noqa: S704 -- the fence outruns the code

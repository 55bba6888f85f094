"""YAML 1.2 to plain values, with the line and column of every one of them.

The value of a scalar is decided here, by the core schema of YAML 1.2 and nothing else: ``no`` is Norwegian, ``1e-3``
is a number, ``010`` is ten. What a recipe has no use for and what YAML is attacked with is refused: tags, anchors and
aliases, several documents, deep nesting, many values, large files. Reading costs up to about 50 us a value and 1 us a
character, and the limits keep all of it below 100 ms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scanner import Scanner, ScannerError

from fastwhisper_compress.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BYTES = 16 * 1024
MAX_DEPTH = 12
MAX_VALUES = 600
MAX_REPEATED = 20  # keys
MAX_NUMBER_LENGTH = 40
LONGEST_QUOTE = 60
"""Characters of a value or a key that a message repeats; it may be as long as the file."""
_TOO_DEEP = f"nesting deeper than {MAX_DEPTH} levels"

Loc = tuple[str | int, ...]
"""Where a value stands inside a document: ``("passes", 0, "targets", 1)``."""

# The core schema: what a plain scalar must look like as a whole, and how it is then read.
_CORE_SCHEMA: tuple[tuple[re.Pattern[str], Callable[[str], int | float | bool | None]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text in ("true", "True", "TRUE")),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


@dataclass
class Document:
    """A parsed file: its value, and the places of its values and keys as ``file:line:column``."""

    name: str
    value: Any = None
    values: dict[Loc, str] = field(default_factory=dict)
    keys: dict[Loc, str] = field(default_factory=dict)
    problems: list[RecipeError] = field(default_factory=list)

    def where(self, loc: Loc) -> str:
        """The place of a value or, if it is not written in the file, of the nearest thing around it."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values.get(loc, self.name)


def scalar(text: str) -> str | int | float | bool | None:
    """The value of a plain (unquoted) scalar."""
    if len(text) > MAX_NUMBER_LENGTH:
        return text  # no setting has so many digits, and converting millions of them takes minutes
    for form, read in _CORE_SCHEMA:
        if form.fullmatch(text):
            return read(text)
    return text


def parse(text: str, name: str) -> Document:
    """Read one document.

    Args:
        text: The YAML text.
        name: What to call the file in places.

    Raises:
        RecipeError: if it is not YAML, or uses what is refused. Duplicate keys are collected in ``problems``.
    """
    document = Document(name)
    try:
        _Builder(document, _events(text)).build()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(
            f"not valid YAML: {_plain(error)}",
            place=f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name,
            remedy="check the indentation, the quotes and the colons around this place",
        ) from None
    except YAMLError as error:
        raise RecipeError(
            f"not valid YAML: {error}",
            place=name,
            remedy="save the file as plain UTF-8 text without control characters, and check its escapes",
        ) from None
    return document


class _Scanner(Scanner):
    """Refuses deep nesting already where it looks ahead: for a key, up to 1024 brackets, at a cost that is squared."""

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:  # noqa: N803 - theirs
        if self.flow_level >= MAX_DEPTH:
            raise ScannerError(problem=_TOO_DEEP, problem_mark=self.reader.get_mark())
        super().fetch_flow_collection_start(TokenClass, to_push)


def _events(text: str) -> Iterator[events.Event]:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    try:
        yield from yaml.parse(text)
    except (ValueError, OverflowError):
        raise YAMLError("a character or a version with a number that there is not") from None


def _plain(error: MarkedYAMLError) -> str:
    """The parser's complaint in words that need no knowledge of parsers."""
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return "a tab where only spaces may indent"
    if "cannot start any token" in problem:
        return problem.replace("found character", "the character").replace(
            "that cannot start any token", "needs quotes here"
        )
    if problem.startswith("mapping values"):
        return "a ':' that belongs to no key (text that contains ': ' needs quotes)"
    return shortened(" ".join(str(part) for part in (error.problem, error.context) if part), 200)


def shortened(text: str, longest: int = LONGEST_QUOTE) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


class _Builder:
    """Builds values from the event stream, so that nothing is constructed before it has been checked."""

    def __init__(self, document: Document, stream: Iterator[events.Event]) -> None:
        self._document = document
        self._stream = stream
        self._count = 0

    def build(self) -> None:
        documents = 0
        for event in self._stream:
            if isinstance(event, events.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document", "keep one document in each file")
                if event.version not in (None, (1, 2)):
                    self._refuse(event, "a %YAML directive other than 1.2", "remove the directive")
                self._document.value = self._node(next(self._stream), ())

    def _node(self, event: events.Event, loc: Loc) -> Any:
        self._check(event)
        self._count += 1
        if self._count > MAX_VALUES:
            self._refuse(event, f"more than {MAX_VALUES} values", "nothing read here needs that many")
        self._document.values[loc] = self._place(event)
        if isinstance(event, events.ScalarEvent):
            return event.value if event.style else scalar(event.value)
        if len(loc) >= MAX_DEPTH:
            self._refuse(event, _TOO_DEEP, "nothing read here needs that many")
        return self._sequence(loc) if isinstance(event, events.SequenceStartEvent) else self._mapping(loc)

    def _sequence(self, loc: Loc) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._stream), events.SequenceEndEvent):
            items.append(self._node(event, (*loc, len(items))))
        return items

    def _mapping(self, loc: Loc) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._stream), events.MappingEndEvent):
            self._check(event)
            if not isinstance(event, events.ScalarEvent):
                self._refuse(event, "a key that is a list or a mapping", "write keys as plain words")
            key = event.value
            if key in items:
                if len(self._document.problems) >= MAX_REPEATED:
                    self._refuse(event, f"one more than {MAX_REPEATED} repeated keys", "write each key once")
                self._document.problems.append(
                    RecipeError(
                        f"the key {shortened(key)!r} stands twice, first at {self._document.keys[*loc, key]}",
                        place=self._place(event),
                        remedy="keep one of the two",
                    )
                )
                # Read what follows as usual, for its own problems, but let the first one count.
                known, self._document.values = self._document.values, {}
                self._node(next(self._stream), (*loc, key))
                for below, place in self._document.values.items():
                    known.setdefault(below, place)
                self._document.values = known
                continue
            self._document.keys[*loc, key] = self._place(event)
            items[key] = self._node(value := next(self._stream), (*loc, key))
            if value.start_mark.index == value.end_mark.index:
                # Of a value that is left out, the parser only knows where the next line begins.
                self._document.values[*loc, key] = self._place(event)
        return items

    def _check(self, event: events.Event) -> None:
        if getattr(event, "anchor", None):  # an alias is an event that has nothing else
            self._refuse(
                event, "an anchor (&name) or alias (*name)", "write the value out; quote text that starts with & or *"
            )
        if tag := getattr(event, "tag", None):
            self._refuse(event, f"the tag {shortened(str(tag))!r}", "remove the tag; quote text that starts with !")

    def _place(self, event: events.Event) -> str:
        return f"{self._document.name}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"

    def _refuse(self, event: events.Event, what: str, remedy: str) -> NoReturn:
        raise RecipeError(f"{what} is not allowed here", place=self._place(event), remedy=remedy)

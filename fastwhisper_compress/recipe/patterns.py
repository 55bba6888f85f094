"""Globs and regular expressions on module paths, from files that anybody may have written.

A few characters, such as ``(a|a)*b``, keep a backtracking matcher busy for years. The one used here for expressions gives up
in time, which that of the standard library cannot; what it would spend on counted repetitions before is limited. Globs need
none of this: what they are translated to never goes back.
"""

from __future__ import annotations

import math
import re
from fnmatch import translate
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from collections.abc import Callable

REGEX = "re:"
_LONGEST_MATCH_S = 0.01  # a path takes microseconds
_MOST_REPEATS = 10_000  # of all counts such as {2,30} multiplied: as many copies may be made of what is repeated
_COUNT = re.compile(r"\{(?:[0-9]*,)?([0-9]+),?\}")


def whole_match(pattern: str) -> Callable[[str], bool]:
    """A predicate telling whether a pattern matches a text as a whole.

    The predicate raises ``TimeoutError`` if that takes too long to tell.

    Raises:
        ValueError: The regular expression is not well formed, or too large.
    """
    if not pattern.startswith(REGEX):
        glob = re.compile(translate(pattern))
        return lambda text: glob.fullmatch(text) is not None
    expression = _compiled(pattern.removeprefix(REGEX))
    return lambda text: expression.fullmatch(text, timeout=_LONGEST_MATCH_S) is not None


def _compiled(expression: str) -> regex.Pattern[str]:
    if math.prod(max(1, int(n)) for n in _COUNT.findall(expression)) > _MOST_REPEATS:
        raise ValueError(f"it repeats something more than {_MOST_REPEATS} times")
    try:
        return regex.compile(expression)
    except regex.error as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None

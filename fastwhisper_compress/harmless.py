"""Text that is not ours, where a terminal, a player or an editor reads it: nothing in it acts on what stands around it.

What a model writes, a file is called or a checkpoint says may hold escape sequences that move the cursor or retitle the
window, and characters that turn the direction of their neighbours about. Each is replaced by a mark that can be seen.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Surrogates stand for bytes of file names that are no UTF-8; no file and no terminal takes them.
_DIRECTIONS = "\u202a-\u202e\u2066-\u2069"
_BREAKS = "\u2028\u2029"
_SURROGATES = "\ud800-\udfff"
_ACTING = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BREAKS}{_DIRECTIONS}{_SURROGATES}]")
_LEFT_BY_JSON = re.compile(f"[\x7f-\x9f{_BREAKS}{_DIRECTIONS}{_SURROGATES}]")


def shown(character: str) -> str:
    """Return the mark that stands for a character: ``⟨U+001B⟩``."""
    return f"⟨U+{ord(character):04X}⟩"


def harmless(text: str) -> str:
    """Return a text with marks for all control characters but tab and newline, and for those that set a direction."""
    return _ACTING.sub(lambda match: shown(match.group()), text)


def harmless_json(value: Any, *, indent: int | None = None) -> str:
    r"""Return JSON that says exactly the value, with ``\u`` escapes for what would act on a terminal."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _LEFT_BY_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)

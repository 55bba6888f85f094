"""Run artifacts. Imports neither torch nor transformers: that is most of a process's memory.

What is named here is imported when it is first asked for: the process that decodes audio lives in this package too, and
needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastwhisper_compress.runtime.options import Options
    from fastwhisper_compress.runtime.transcriber import Transcriber, load_artifact
    from fastwhisper_compress.runtime.transcript import Segment, Transcript, Word

__all__ = ["Options", "Segment", "Transcriber", "Transcript", "Word", "load_artifact"]

_HOMES = {"Options": "options", "Transcriber": "transcriber", "load_artifact": "transcriber"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'transcript')}"), name)
    globals()[name] = value
    return value

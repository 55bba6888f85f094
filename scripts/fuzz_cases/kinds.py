"""What is fuzzed: where the cases come from, what is done with them, and how long that may take."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from fastwhisper_compress.checkpoint.dims import Dims, Module, modules
from fastwhisper_compress.errors import FastWhisperError

GOOD = "good"


@dataclass(frozen=True)
class Kind:
    """One way into the program.

    Attributes:
        case: The number of a case -> the suffix and the bytes of a file.
        use: Reads the file as the program does.
        ends: Says by which of its stages a file was refused.
        limit_s: The longest that using a file may take.
        clock: By what that is measured. Where all the work is done in this process, by what it computes: how busy the
            machine is makes no difference then.
    """

    case: Callable[[int], tuple[str, bytes]]
    use: Callable[[Path], object]
    ends: Callable[[FastWhisperError], str]
    limit_s: float
    clock: Callable[[], float]


def recipes() -> Kind:
    """Loaded, and compared with the modules of a model."""
    from fastwhisper_compress.recipe import check_against, load_recipe
    from fuzz_cases.recipes import recipe_case

    def use(path: Path) -> object:
        return check_against(load_recipe(path), _modules())

    def ends(error: FastWhisperError) -> str:
        passed = _passed(error)
        names = {"_text": "not text", "parse": "not such YAML", "check_against": "does not fit the model"}
        return next((end for name, end in names.items() if name in passed), "not by the schema")

    return Kind(recipe_case, use, ends, 0.1, time.process_time)


def audio() -> Kind:
    """Decoded whole, as a clip of at most 30 s is: a forged rate may turn half a second into hours."""
    from fastwhisper_compress.runtime.audio import read_audio
    from fuzz_cases.audio import audio_case

    return Kind(audio_case, partial(read_audio, max_s=30), lambda error: type(error).__name__, 5.0, time.perf_counter)


def ctranslate2() -> Kind:
    """Read with all its weights; tokenizer and configuration are other files."""
    from fastwhisper_compress.checkpoint.ctranslate2 import read_claims
    from fastwhisper_compress.checkpoint.safe_load import load_tensors
    from fuzz_cases.ctranslate2 import ctranslate2_case

    def use(path: Path) -> object:
        return load_tensors(*read_claims(path), str(path))

    def ends(error: FastWhisperError) -> str:
        passed = _passed(error)
        return next((end for name, end in _CTRANSLATE2_ENDS.items() if name in passed), "not a Whisper")

    return Kind(ctranslate2_case, use, ends, 0.1, time.process_time)


KINDS: dict[str, Callable[[], Kind]] = {"recipes": recipes, "audio": audio, "ctranslate2": ctranslate2}

_CTRANSLATE2_ENDS = {"read_variables": "not such a file", "load_tensors": "weights do not fit"}


@cache
def _modules() -> tuple[Module, ...]:
    """Those of a Whisper of one layer a side."""
    return modules(Dims(80, 51_864, 384, 1, 1, 6, 6, 1536, 1536))


def _passed(error: FastWhisperError) -> set[str]:
    """The functions an error went through."""
    return {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}

"""Word and character error rates after the Whisper normalisers.

Policy, pinned by tests:

- English text goes through the English normaliser, every other language through the basic one. Languages written
  without spaces between words are scored by character (CER); spaces are then removed on both sides.
- The rate of a corpus is ``(S + D + I) / reference words`` over all utterances together (corpus level), never a mean of
  per-utterance rates.
- A reference that is empty, or becomes empty by normalisation ("[music]"), keeps its row: it adds no reference words,
  and whatever the model wrote there counts as insertions. Hallucination on silence is a cost, so it is not dropped.
- Audio that failed is scored as an empty hypothesis: every reference word is a deletion.

The normalisers are those of the openai-whisper package. Importing that package would import torch (2.6 s and
hundreds of MB), so its ``normalizers`` folder alone is loaded by file location.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.runtime.word_pieces import UNSPACED_LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jiwer import AlignmentChunk, CharacterOutput, WordOutput

Metric = Literal["wer", "cer"]

# Whisper's own decoding fallback takes a text that compresses better than this for a loop.
LOOP_COMPRESSION_RATIO = 2.4
LOOP_REPEATS = 4
LOOP_SPAN = 8
LOOP_LONGEST_UNIT = 32

_NORMALIZERS = "fastwhisper_compress._whisper_normalizers"


class Chunk(NamedTuple):
    """A run of units that an alignment treats alike: ``op`` is ``equal``, ``substitute``, ``delete`` or ``insert``.

    The spans are half open; one of them is empty for ``delete`` (hypothesis) and ``insert`` (reference).
    """

    op: str
    ref_start: int
    ref_end: int
    hyp_start: int
    hyp_end: int


class Normalizer(Protocol):
    """A function from raw to normalised text."""

    def __call__(self, text: str) -> str:
        """Return the normalised text."""


@dataclass(frozen=True)
class Counts:
    """Edit counts of one utterance, or of many added together; units are words (WER) or characters (CER)."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def n_ref_words(self) -> int:
        """Length of the reference."""
        return self.hits + self.substitutions + self.deletions


def metric_for(language: str) -> Metric:
    """Return ``"cer"`` for languages written without spaces between words, else ``"wer"``."""
    return "cer" if language in UNSPACED_LANGUAGES else "wer"


def normalise(text: str, language: str) -> str:
    """Normalise one text as it is scored: Whisper's normaliser, then single spaces (WER) or none (CER)."""
    words = _normalizer("english" if language == "en" else "basic")(text).split()
    return ("" if metric_for(language) == "cer" else " ").join(words)


def score(rows: Iterable[tuple[str, str]], language: str) -> list[Counts]:
    """Count the errors of each (reference, hypothesis) pair of raw texts.

    The counts come from one call of jiwer over the whole corpus, so their sums are jiwer's corpus-level sums.
    """
    pairs = [(normalise(reference, language), normalise(hypothesis, language)) for reference, hypothesis in rows]
    return [_counts(chunks) for chunks in _process(pairs, language).alignments] if pairs else []


def total(counts: Iterable[Counts]) -> Counts:
    """Add counts together."""
    sums = Counts()
    for one in counts:
        sums = Counts(
            sums.hits + one.hits,
            sums.substitutions + one.substitutions,
            sums.deletions + one.deletions,
            sums.insertions + one.insertions,
        )
    return sums


def error_rate(counts: Counts) -> float:
    """Return errors per reference word (or character); an empty reference side has no rate and gives NaN."""
    return counts.errors / counts.n_ref_words if counts.n_ref_words else float("nan")


def alignment(reference: str, hypothesis: str, language: str = "en") -> list[tuple[str, list[str], list[str]]]:
    """Align two raw texts after normalisation.

    Returns:
        ``(op, reference words, hypothesis words)`` in order, ``op`` being ``equal``, ``substitute``, ``delete`` or
        ``insert``; the items are characters where the language is scored by character.
    """
    ref, hyp = units(normalise(reference, language), language), units(normalise(hypothesis, language), language)
    return [
        (chunk.op, ref[chunk.ref_start : chunk.ref_end], hyp[chunk.hyp_start : chunk.hyp_end])
        for chunk in align(ref, hyp, language)
    ]


def units(normalised: str, language: str) -> list[str]:
    """Split a normalised text into what is counted: its words, or its characters where the language has no spaces."""
    return list(normalised) if metric_for(language) == "cer" else normalised.split()


def joined(parts: Sequence[str], language: str) -> str:
    """Put units together again."""
    return ("" if metric_for(language) == "cer" else " ").join(parts)


def align(reference: Sequence[str], hypothesis: Sequence[str], language: str) -> list[Chunk]:
    """Align two sequences of units at the least number of edits."""
    output = _process([(joined(reference, language), joined(hypothesis, language))], language)
    return [Chunk(c.type, c.ref_start_idx, c.ref_end_idx, c.hyp_start_idx, c.hyp_end_idx) for c in output.alignments[0]]


def has_repetition_loop(hypothesis: str, reference: str, language: str = "en") -> bool:
    """Tell whether a raw hypothesis is stuck in a loop that its reference does not have.

    A loop is a run of at least four repeats of the same 1 to 32 words (or characters) spanning eight or more, or a text
    that zlib shrinks by more than 2.4, Whisper's own threshold. A speaker who really repeats himself is no loop.
    """
    return _loops(normalise(hypothesis, language), language) and not _loops(normalise(reference, language), language)


def _loops(text: str, language: str) -> bool:
    units: Sequence[str] = text if metric_for(language) == "cer" else text.split()
    for length in range(1, min(LOOP_LONGEST_UNIT, len(units) // LOOP_REPEATS) + 1):
        run = 0
        for i in range(len(units) - length):
            run = run + 1 if units[i] == units[i + length] else 0
            if run + length >= max(LOOP_REPEATS * length, LOOP_SPAN):
                return True
    raw = text.encode()
    return bool(raw) and len(raw) / len(zlib.compress(raw)) > LOOP_COMPRESSION_RATIO


def _process(pairs: Sequence[tuple[str, str]], language: str) -> WordOutput | CharacterOutput:
    import jiwer

    process = jiwer.process_characters if metric_for(language) == "cer" else jiwer.process_words
    return process([reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs])


def _counts(chunks: Iterable[AlignmentChunk]) -> Counts:
    sizes = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in chunks:  # a chunk is as wide as its wider side: only insertions and deletions have an empty one
        sizes[chunk.type] += max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return Counts(sizes["equal"], sizes["substitute"], sizes["delete"], sizes["insert"])


@lru_cache(maxsize=2)
def _normalizer(kind: Literal["english", "basic"]) -> Normalizer:
    package = _normalizers_package()
    name = "EnglishTextNormalizer" if kind == "english" else "BasicTextNormalizer"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # the English one leaves its file of spellings to the collector
        return cast("Normalizer", getattr(package, name)())


def _normalizers_package() -> object:
    if _NORMALIZERS in sys.modules:
        return sys.modules[_NORMALIZERS]
    whisper = importlib.util.find_spec("whisper")  # finding a top-level package does not import it
    folders = list(whisper.submodule_search_locations or ()) if whisper else []
    for folder in folders:
        init = Path(folder) / "normalizers" / "__init__.py"
        if not init.is_file():
            continue
        spec = importlib.util.spec_from_file_location(_NORMALIZERS, init, submodule_search_locations=[str(init.parent)])
        if spec is None or spec.loader is None:
            break
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NORMALIZERS] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[_NORMALIZERS]
            raise
        return module
    raise BackendError(
        "the Whisper text normalisers are missing",
        place=str(folders[0]) if folders else "openai-whisper",
        remedy="pip install openai-whisper (the package named whisper is another one)",
    )

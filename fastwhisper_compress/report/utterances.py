"""The utterances that lost most, with their words aligned: where a rate turns into something one can read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, NonNegativeInt, ValidationError

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.evaluation.timeline import Timeline
from fastwhisper_compress.evaluation.units import Unit, paired_units
from fastwhisper_compress.evaluation.wer import Counts
from fastwhisper_compress.report.format import clock, count
from fastwhisper_compress.report.text import encodable

if TYPE_CHECKING:
    from pathlib import Path

WORST_SHOWN = 10

Align = Callable[[str, str], list[tuple[str, list[str], list[str]]]]
Text = Annotated[str, BeforeValidator(encodable)]
Op = Literal["equal", "ins", "del"]
Pair = tuple[Unit, Unit]


class Row(BaseModel):
    """One line of ``eval/baseline.jsonl`` or ``eval/candidate.jsonl``, as far as a report needs it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: Text
    text: Text
    reference: Text
    substitutions: NonNegativeInt
    deletions: NonNegativeInt
    insertions: NonNegativeInt
    n_ref_words: NonNegativeInt
    speaker: Text | None = None
    error: Text | None = None
    timeline: Annotated[Timeline | None, BeforeValidator(encodable)] = None

    @property
    def counts(self) -> Counts:
        """Edit counts."""
        hits = self.n_ref_words - self.substitutions - self.deletions
        return Counts(hits, self.substitutions, self.deletions, self.insertions)


@dataclass(frozen=True)
class Diff:
    """A run of words that were recognised (``equal``), missed (``del``) or made up (``ins``)."""

    op: Op
    text: str


@dataclass(frozen=True)
class Utterance:
    """One utterance, or one window of a recording, under both models: transcripts as differences from the reference.

    Attributes:
        id: The utterance.
        span: When the window is, or nothing.
        change: What became of its errors, in words.
    """

    id: str
    span: str
    speaker: str
    reference: str
    baseline: tuple[Diff, ...]
    candidate: tuple[Diff, ...]
    change: str


@dataclass(frozen=True)
class Worst:
    """The utterances and windows with the largest increase in errors, and how many went which way."""

    shown: tuple[Utterance, ...]
    n_worse: int
    n_better: int
    n_same: int


def read_rows(path: Path) -> list[Row]:
    """Read a JSONL file of per-utterance rows.

    Raises:
        UsageError: Missing file or a line that is no row; the place names the line.
    """
    remedy = "write it again with `python -m fastwhisper_compress run`"
    try:
        lines = path.read_text(encoding="utf-8").split(
            "\n"
        )  # not splitlines: U+2028 may stand raw inside a JSON string
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the rows: {error}", place=str(path), remedy=remedy) from error
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(Row.model_validate(json.loads(line)))
            except (json.JSONDecodeError, ValidationError) as error:
                raise UsageError("not a row of an evaluation", place=f"{path}:{number}", remedy=remedy) from error
    return rows


def to_rows(rows: Iterable[Row | Mapping[str, object] | object]) -> list[Row]:
    """Accept rows as read from JSONL, as mappings or as objects with the same attributes."""
    try:
        return [row if isinstance(row, Row) else Row.model_validate(row) for row in rows]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"not a row of an evaluation: {where}: {first['msg']}", place="rows", remedy="evaluate again"
        ) from error


def paired(baseline: Iterable[Row], candidate: Iterable[Row], language: str) -> list[Pair]:
    """Pair the rows by id, those of recordings window by window; a row without a partner is left out."""
    first = {row.id: row for row in baseline}
    after = [row for row in candidate if row.id in first]
    return paired_units([first[row.id] for row in after], after, language)


def worst_utterances(
    pairs: Sequence[Pair], *, language: str, align: Align | None = None, limit: int = WORST_SHOWN
) -> Worst:
    """Pick the largest increases in errors; ties go to the shorter reference, then to the id.

    Args:
        pairs: The units under the FP32 model and under the compressed one.
        language: Decides the normaliser, and whether words or characters are compared.
        align: Takes the place of ``evaluation.wer.alignment``.
        limit: Most utterances to show.
    """
    gains = [after.counts.errors - before.counts.errors for before, after in pairs]
    worse = sorted(
        (pair for pair, gain in zip(pairs, gains, strict=True) if gain > 0),
        key=lambda pair: (
            pair[0].counts.errors - pair[1].counts.errors,
            pair[1].counts.n_ref_words,
            pair[1].id,
            pair[1].span_s or (),
        ),
    )
    shown = tuple(beside(pair, language, align) for pair in worse[:limit])
    return Worst(shown, len(worse), sum(gain < 0 for gain in gains), sum(gain == 0 for gain in gains))


def beside(pair: Pair, language: str, align: Align | None = None) -> Utterance:
    """Put both transcripts beside the reference."""
    before, after = pair
    aligner, joiner = _aligner(language, align)
    size = count(after.counts.n_ref_words, "word" if joiner else "character")
    return Utterance(
        after.id,
        " to ".join(map(clock, after.span_s or ())),
        after.speaker or "",
        after.reference,
        _differences(aligner(before.reference, before.text), joiner),
        _differences(aligner(after.reference, after.text), joiner),
        f"errors {before.counts.errors} to {after.counts.errors} in {size}",
    )


def _aligner(language: str, align: Align | None) -> tuple[Align, str]:
    from fastwhisper_compress.evaluation.wer import alignment, metric_for

    joiner = "" if metric_for(language) == "cer" else " "
    return align or (lambda reference, hypothesis: alignment(reference, hypothesis, language)), joiner


def _differences(aligned: list[tuple[str, list[str], list[str]]], joiner: str) -> tuple[Diff, ...]:
    found: list[Diff] = []
    for op, reference, hypothesis in aligned:
        if op == "equal":
            found.append(Diff("equal", joiner.join(hypothesis)))
            continue
        if reference:
            found.append(Diff("del", joiner.join(reference)))
        if hypothesis:
            found.append(Diff("ins", joiner.join(hypothesis)))
    return tuple(found)

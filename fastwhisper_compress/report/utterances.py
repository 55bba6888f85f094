"""The utterances that lost most, with their words aligned: where a rate turns into something one can read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, NonNegativeInt, ValidationError

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.report.format import count
from fastwhisper_compress.report.text import encodable

if TYPE_CHECKING:
    from pathlib import Path

WORST_SHOWN = 10

Align = Callable[[str, str], list[tuple[str, list[str], list[str]]]]
Text = Annotated[str, BeforeValidator(encodable)]
Op = Literal["equal", "ins", "del"]


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

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class Diff:
    """A run of words that were recognised (``equal``), missed (``del``) or made up (``ins``)."""

    op: Op
    text: str


@dataclass(frozen=True)
class Utterance:
    """One utterance under both models, its transcripts as differences from the reference."""

    id: str
    speaker: str
    reference: str
    baseline: tuple[Diff, ...]
    candidate: tuple[Diff, ...]
    baseline_errors: int
    candidate_errors: int
    n_ref_words: int
    unit: str

    @property
    def change(self) -> str:
        """What became of its errors, in words."""
        return f"errors {self.baseline_errors} to {self.candidate_errors} in {count(self.n_ref_words, self.unit)}"


@dataclass(frozen=True)
class Worst:
    """The utterances with the largest increase in errors, and how many went which way."""

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


def worst_utterances(
    baseline: Iterable[Row],
    candidate: Iterable[Row],
    *,
    language: str,
    align: Align | None = None,
    limit: int = WORST_SHOWN,
) -> Worst:
    """Pair the rows by id and pick the largest increases in errors; ties go to the shorter reference, then to the id.

    Args:
        baseline: Rows of the FP32 model.
        candidate: Rows of the compressed model.
        language: Decides the normaliser, and whether words or characters are compared.
        align: Takes the place of ``evaluation.wer.alignment``.
        limit: Most utterances to show.
    """
    first = {row.id: row for row in baseline}
    pairs = [(first[row.id], row) for row in candidate if row.id in first]
    gains = [after.errors - before.errors for before, after in pairs]
    worse = sorted(
        (pair for pair, gain in zip(pairs, gains, strict=True) if gain > 0),
        key=lambda pair: (pair[0].errors - pair[1].errors, pair[1].n_ref_words, pair[1].id),
    )
    aligner, joiner = _aligner(language, align)
    shown = tuple(
        Utterance(
            after.id,
            after.speaker or "",
            after.reference,
            _differences(aligner(before.reference, before.text), joiner),
            _differences(aligner(after.reference, after.text), joiner),
            before.errors,
            after.errors,
            after.n_ref_words,
            "word" if joiner else "character",
        )
        for before, after in worse[:limit]
    )
    return Worst(shown, len(worse), sum(gain < 0 for gain in gains), sum(gain == 0 for gain in gains))


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

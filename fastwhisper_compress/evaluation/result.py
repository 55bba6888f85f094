"""The outcome of a measurement: scored rows, one evaluation, and the paired difference of two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.evaluation import longform, wer
from fastwhisper_compress.evaluation.aligned import Aligned, aligned
from fastwhisper_compress.evaluation.runner import finished_rows
from fastwhisper_compress.evaluation.timeline import Timeline
from fastwhisper_compress.evaluation.units import paired_units, unit_name
from fastwhisper_compress.evaluation.wer import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fastwhisper_compress.evaluation.suite import Suite

BATCH_KEYS = (
    "batch_size",
    "batch_size_used",
    "recoveries",
)  # asked for, what memory let through, and how it came to that


@dataclass(frozen=True)
class Row:
    """One utterance: what was said, what came out, what it cost.

    Attributes:
        timeline: When what was heard, for a recording of more than 30 s; None for a clip, and where the audio failed.
    """

    id: str
    text: str
    tokens: tuple[int, ...]
    looped: bool
    redone: bool
    audio_s: float
    wall_s: float
    error: str | None
    reference: str
    substitutions: int
    deletions: int
    insertions: int
    n_ref_words: int
    speaker: str | None
    timeline: Timeline | None = None

    @property
    def counts(self) -> Counts:
        """Edit counts."""
        hits = self.n_ref_words - self.substitutions - self.deletions
        return Counts(hits, self.substitutions, self.deletions, self.insertions)


@dataclass(frozen=True)
class Evaluation:
    """The outcome of measuring one artifact on one suite.

    Attributes:
        process: What the measuring process reported: load time and memory, the latter with its trace.
        resumed_rows: Rows taken over from an interrupted run; their times count, their memory was not seen.
    """

    suite_digest: str
    language: str
    threads: int
    rows: tuple[Row, ...]
    process: Mapping[str, Any]
    resumed_rows: int = 0

    @property
    def metric(self) -> str:
        """``wer`` or ``cer``."""
        return wer.metric_for(self.language)

    @property
    def counts(self) -> Counts:
        """Edit counts of the corpus."""
        return wer.total(row.counts for row in self.rows)

    @property
    def wer(self) -> float:
        """Corpus-level error rate as a fraction."""
        return wer.error_rate(self.counts)

    @property
    def rtfx(self) -> float:
        """Seconds of audio per second of computing."""
        return sum(row.audio_s for row in self.rows) / sum(row.wall_s for row in self.rows)

    @property
    def empty_outputs(self) -> int:
        """Utterances with words in the reference and none in the output, failed audio aside."""
        return sum(
            row.n_ref_words > 0 and row.error is None and not wer.normalise(row.text, self.language)
            for row in self.rows
        )

    @property
    def repetition_loops(self) -> int:
        """Clips, and windows of recordings, stuck in a loop, whether decoding stopped there or not."""
        clips = [row for row in self.rows if row.timeline is None]
        looped = sum(row.looped or wer.has_repetition_loop(row.text, row.reference, self.language) for row in clips)
        return looped + (self.recordings["looped_windows"] if self.recordings else 0)

    @cached_property
    def aligned(self) -> tuple[Aligned, ...]:
        """The recordings beside their references."""
        return tuple(aligned(row, self.language) for row in self.rows if row.timeline is not None)

    @cached_property
    def recordings(self) -> dict[str, Any] | None:
        """What only long audio can go wrong in; None where the suite holds clips alone."""
        return longform.figures([row for row in self.rows if row.timeline is not None], self.aligned)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the ``eval`` and ``memory`` parts of results.json (weight bytes are the artifact's to tell)."""
        counts = self.counts
        return {
            "eval": {
                "metric": self.metric,
                "wer": self.wer,
                "rtfx": self.rtfx,
                "n_utterances": len(self.rows),
                "n_ref_words": counts.n_ref_words,
                "substitutions": counts.substitutions,
                "deletions": counts.deletions,
                "insertions": counts.insertions,
                "empty_outputs": self.empty_outputs,
                "repetition_loops": self.repetition_loops,
                "redone": sum(row.redone for row in self.rows),
                "failed": [{"id": row.id, "error": row.error} for row in self.rows if row.error is not None],
                "load_s": self.process["load_s"],
                "audio_s": sum(row.audio_s for row in self.rows),
                "wall_s": sum(row.wall_s for row in self.rows),
                "threads": self.threads,
                "resumed_rows": self.resumed_rows,
                "measured_at": self.process.get("measured_at"),
                **{key: self.process[key] for key in BATCH_KEYS},
                "recordings": self.recordings,
            },
            "memory": {
                key: self.process[key]
                for key in ("peak_rss_bytes", "rss_after_load_bytes", "rss_imports_bytes", "peak_vram_bytes", "trace")
            },
        }


def score_rows(suite: Suite, rows: Sequence[Mapping[str, Any]]) -> tuple[Row, ...]:
    """Put transcribed rows beside their references, in the order of the suite.

    Raises:
        UsageError: A row is missing.
    """
    by_id = {str(row["id"]): row for row in rows}
    if missing := [one.id for one in suite.utterances if one.id not in by_id]:
        raise UsageError(
            f"{len(missing)} of {len(suite.utterances)} utterances have no row, the first is {missing[0]!r}",
            place=suite.name,
            remedy="remove the rows file and measure again",
        )
    found = [by_id[one.id] for one in suite.utterances]
    counts = wer.score(
        [(one.text, str(row["text"])) for one, row in zip(suite.utterances, found, strict=True)], suite.language
    )
    return tuple(
        Row(
            id=one.id,
            text=row["text"],
            tokens=tuple(row["tokens"]),
            looped=row["looped"],
            redone=row["redone"],
            audio_s=row["audio_s"],
            wall_s=row["wall_s"],
            error=row["error"],
            reference=one.text,
            substitutions=count.substitutions,
            deletions=count.deletions,
            insertions=count.insertions,
            n_ref_words=count.n_ref_words,
            speaker=one.speaker,
            timeline=None if row["timeline"] is None else Timeline.from_json(row["timeline"]),
        )
        for one, row, count in zip(suite.utterances, found, counts, strict=True)
    )


def restore(parts: Mapping[str, Mapping[str, Any]], suite: Suite, rows_path: Path) -> Evaluation:
    """Rebuild an evaluation from its ``to_json`` parts and its rows, for a stage that is reused."""
    rows = score_rows(suite, finished_rows(rows_path))
    figures = parts["eval"]
    process = {"load_s": figures["load_s"], "measured_at": figures.get("measured_at"), **parts["memory"]}
    process |= {key: figures[key] for key in BATCH_KEYS}
    resumed = int(parts["eval"].get("resumed_rows", 0))
    return Evaluation(suite.digest, suite.language, int(parts["eval"]["threads"]), rows, process, resumed)


def compare(baseline: Evaluation, candidate: Evaluation, *, seed: int = 0) -> dict[str, Any]:
    """Return the ``delta`` part of results.json, less what only the artifacts can tell (sizes).

    Raises:
        UsageError: The two were not measured on the same utterances.
    """
    ids = [row.id for row in baseline.rows]
    if ids != [row.id for row in candidate.rows] or baseline.suite_digest != candidate.suite_digest:
        raise UsageError(
            "baseline and candidate were measured on different utterances",
            remedy="measure both on the same suite with the same --limit",
        )
    from fastwhisper_compress.evaluation.stats import paired_delta

    pairs = paired_units(baseline.rows, candidate.rows, baseline.language)
    delta = paired_delta(
        [before.counts for before, _ in pairs],
        [after.counts for _, after in pairs],
        [before.speaker for before, _ in pairs],
        seed=seed,
        metric=baseline.metric,
        n_transcripts_differ=sum(before.text != after.text for before, after in pairs),
        unit=unit_name(baseline.rows),
    )
    peak = baseline.process["peak_rss_bytes"]
    return delta | {
        "empty_delta": candidate.empty_outputs - baseline.empty_outputs,
        "loops_delta": candidate.repetition_loops - baseline.repetition_loops,
        "rss_saved_pct": 100 * (peak - candidate.process["peak_rss_bytes"]) / peak,
        "rtfx_ratio": candidate.rtfx / baseline.rtfx,
        "recordings": longform.delta(baseline, candidate, seed=seed),
    }


def offload_price(plain: Evaluation, offloaded: Evaluation, mode: str) -> dict[str, Any]:
    """Return the ``offload`` part of results.json: what leaving memory saves and costs, on one and the same artifact."""

    def figures(evaluation: Evaluation) -> dict[str, Any]:
        return {"peak_rss_bytes": evaluation.process["peak_rss_bytes"], "rtfx": evaluation.rtfx}

    before, after = figures(plain), figures(offloaded)
    return {
        "mode": mode,
        "plain": before,
        "offloaded": after,
        "memory_ratio": after["peak_rss_bytes"] / before["peak_rss_bytes"],
        "time_ratio": before["rtfx"] / after["rtfx"],
        "tokens_identical": sum(
            one.tokens == other.tokens for one, other in zip(plain.rows, offloaded.rows, strict=True)
        ),
        "n_utterances": len(plain.rows),
    }

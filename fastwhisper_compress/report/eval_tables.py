"""What the candidate was seen to do: parity, errors, speed, memory, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import (
    NONE,
    count,
    decibel,
    interval,
    megabytes,
    moment,
    number,
    percent,
    plural,
    points,
    ratio,
    saved,
    scientific,
    seconds,
    signed,
    units,
)
from fastwhisper_compress.report.judge import SYNTHETIC, loss_text, vram_saved_pct
from fastwhisper_compress.report.table import Table

if TYPE_CHECKING:
    from fastwhisper_compress.report.model import Eval, Results
    from fastwhisper_compress.report.utterances import Worst


_BY_WINDOW = (
    " A recording is resampled by the windows that both models heard, so the interval speaks of these recordings and others "
    "like them, not of other speakers or rooms."
)


def verification(results: Results) -> Table:
    """Parity figures of both sides."""
    sides = (results.baseline.verify, results.candidate.verify)

    def row(name: str, *values: str) -> tuple[str, ...]:
        return (name, *values)

    def share(n: int, of: int) -> str:
        return f"{number(n)} of {number(of)}"

    agreement = [NONE if s.token_agreement is None else percent(s.token_agreement, 1) for s in sides]
    greedy = [
        share(s.greedy_tokens_equal.n, s.greedy_tokens_equal.of) if s.greedy_tokens_equal else NONE for s in sides
    ]
    return Table(
        "Parity with the FP32 checkpoint",
        ("Check", "FP32", "Candidate"),
        (
            row("Token agreement", *agreement),
            row("Greedy transcripts equal", *greedy),
            row("SQNR, encoder", *(decibel(s.sqnr_db.encoder) for s in sides)),
            row("SQNR, decoder", *(decibel(s.sqnr_db.decoder) for s in sides)),
            row("Largest error, log-mel", *(scientific(s.max_abs_error.log_mel) for s in sides)),
            row("Largest error, encoder (absolute)", *(scientific(s.max_abs_error.encoder) for s in sides)),
            row("Largest error, logits", *(scientific(s.max_abs_error.logits) for s in sides)),
        ),
    )


def gate(results: Results) -> str:
    """The quality gate in one sentence."""
    gate, agreement = results.candidate.verify.gate, results.candidate.verify.token_agreement
    if gate is None:
        return "No quality gate was set for this recipe."
    shown = "not measured" if agreement is None else percent(agreement, 1)
    wanted = "" if gate.token_agreement is None else f", at least {percent(gate.token_agreement, 1)} required"
    return f"Quality gate {'passed' if gate.passed else 'failed'}: token agreement {shown}{wanted}."


def evaluation(results: Results, synthetic: str) -> Table:
    """Errors, speed and memory of both sides."""
    before, after = results.baseline.eval, results.candidate.eval

    def counts(name: str, key: str) -> tuple[str, str, str, str]:
        a, b = getattr(before, key), getattr(after, key)
        return name, number(a), number(b), signed(b - a)

    batched = before.batch_size > 1 or after.batch_size > 1
    resumed = before.resumed_rows > 0 or after.resumed_rows > 0
    failed = (len(before.failed), len(after.failed))
    words = "Reference characters" if after.metric == "cer" else "Reference words"
    return Table(
        f"Errors, speed and memory on {results.suite.name}" + (f" ({synthetic})" if synthetic else ""),
        ("", "FP32", "Candidate", "Change"),
        (
            (after.metric.upper(), percent(before.wer), percent(after.wer), points(results.delta.wer_delta_pp)),
            counts("Substitutions", "substitutions"),
            counts("Deletions", "deletions"),
            counts("Insertions", "insertions"),
            counts("Empty outputs", "empty_outputs"),
            counts("Repetition loops", "repetition_loops"),
            counts("Encoded again with the full window", "redone"),
            ("Failed audio", number(failed[0]), number(failed[1]), signed(failed[1] - failed[0])),
            ("Utterances", number(before.n_utterances), number(after.n_utterances), ""),
            (words, number(before.n_ref_words), number(after.n_ref_words), ""),
            (
                "RTFx (audio time / wall time, reading and resampling files not counted)",
                number(before.rtfx, 1),
                number(after.rtfx, 1),
                ratio(results.delta.rtfx_ratio),
            ),
            ("Audio", seconds(before.audio_s), seconds(after.audio_s), ""),
            ("Wall time", seconds(before.wall_s), seconds(after.wall_s), ""),
            ("Load time", seconds(before.load_s), seconds(after.load_s), ""),
            *([("Clips at a time", batch(before), batch(after), "")] if batched else []),
            ("Measured at, UTC", moment(before.measured_at), moment(after.measured_at), ""),
            *([(*counts("Resumed after (utterances)", "resumed_rows")[:3], "")] if resumed else []),
            *_memory_rows(results),
        ),
        note="Peak memory of a resumed run covers the remaining utterances only." if resumed else "",
    )


def batch(figures: Eval) -> str:
    """How many clips were transcribed together, and whether memory ran out on the way."""
    if not figures.recoveries:
        return f"batch {number(figures.batch_size)}"
    return f"batch {number(figures.batch_size)}, recovered to {number(figures.batch_size_used)}"


def _memory_rows(results: Results) -> list[tuple[str, str, str, str]]:
    before, after = results.baseline.memory, results.candidate.memory
    rows = [
        (
            "Peak RSS",
            megabytes(before.peak_rss_bytes),
            megabytes(after.peak_rss_bytes),
            saved(results.delta.rss_saved_pct),
        ),
        ("RSS after load", megabytes(before.rss_after_load_bytes), megabytes(after.rss_after_load_bytes), ""),
        ("RSS of the imports alone", megabytes(before.rss_imports_bytes), megabytes(after.rss_imports_bytes), ""),
    ]
    if before.peak_vram_bytes is not None or after.peak_vram_bytes is not None:
        shown = [
            NONE if value is None else megabytes(value) for value in (before.peak_vram_bytes, after.peak_vram_bytes)
        ]
        vram = vram_saved_pct(results)
        rows.append(("Peak VRAM", shown[0], shown[1], "" if vram is None else saved(vram)))
    return rows


def offload(results: Results, synthetic: str) -> Table | None:
    """What offloading costs and saves; None where the recipe keeps everything in memory."""
    price = results.offload
    if price is None:
        return None
    plain, lean = price.plain, price.offloaded
    equal = f"{number(price.tokens_identical)} of {number(price.n_utterances)}"
    return Table(
        "What offloading costs and saves" + (f" ({synthetic})" if synthetic else ""),
        ("Candidate", "All in memory", f"Offload: {price.mode}", "Ratio"),
        (
            ("Peak RSS", megabytes(plain.peak_rss_bytes), megabytes(lean.peak_rss_bytes), ratio(price.memory_ratio)),
            ("RTFx", number(plain.rtfx, 1), number(lean.rtfx, 1), ratio(1 / price.time_ratio)),
            ("Transcripts with the same tokens", "", equal, ""),
        ),
        note="Both columns are the same artifact, each measured in a process of its own.",
    )


def statistics(results: Results, synthetic: str) -> Table:
    """The paired difference and its intervals."""
    delta = results.delta
    name = results.candidate.eval.metric.upper()
    if delta.ci95_by_speaker_pp:
        speakers = f"{interval(delta.ci95_by_speaker_pp)} ({count(delta.n_speakers or 0, 'speaker')})"
    elif delta.n_speakers is None:
        speakers = "none: the suite names no speakers"
    else:
        speakers = f"none: {count(delta.n_speakers, 'speaker')} named, too few or no difference"
    missing = "none: identical transcripts have no variance" if delta.identical else "none could be computed"
    return Table(
        f"{name} difference, paired by {delta.unit}" + (f" ({synthetic})" if synthetic else ""),
        ("Statistic", "Value"),
        (
            (f"{name} change", points(delta.wer_delta_pp)),
            (f"95 % interval, by {delta.unit}", interval(delta.ci95_pp) if delta.ci95_pp else missing),
            ("95 % interval, by speaker", speakers),
            ("Reading", loss_text(results)),
            (
                f"{plural(delta.unit).capitalize()} no worse",
                f"{percent(delta.share_no_worse, 1)} of {number(delta.n_units)}",
            ),
            ("Insertions", signed(delta.insertions_delta)),
            ("Empty outputs", signed(delta.empty_delta)),
            ("Repetition loops", signed(delta.loops_delta)),
        ),
        words=frozenset({1}),
        note=f"Method by {delta.unit}: envelope of paired BCa bootstrap and jackknife t; by speaker: jackknife t."
        + (_BY_WINDOW if "window" in delta.unit else ""),
    )


def worst_summary(worst: Worst, results: Results) -> str:
    """How many utterances went which way."""
    n = worst.n_worse + worst.n_better + worst.n_same
    if not n:
        return "No utterances were given to this report."
    unit = results.delta.unit
    text = (
        f"Of {units(n, unit)}, {number(worst.n_worse)} have more errors than under FP32, {number(worst.n_better)} fewer and "
        f"{number(worst.n_same)} as many"
    )
    if worst.shown:
        text += (
            f"; the {number(len(worst.shown))} largest increases follow"
            if len(worst.shown) < worst.n_worse
            else "; all that lost follow"
        )
    return f"{text} ({SYNTHETIC})." if results.suite.synthetic else f"{text}."


def failed(results: Results) -> Table:
    """Audio without a transcript."""
    rows = [("FP32", item.id, item.error) for item in results.baseline.eval.failed]
    rows += [("Candidate", item.id, item.error) for item in results.candidate.eval.failed]
    caption = "Audio that could not be transcribed; every word of it counts as a deletion"
    return Table(caption, ("Side", "Utterance", "Error"), tuple(rows), n_labels=3)

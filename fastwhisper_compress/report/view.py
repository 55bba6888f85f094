"""What a report says, independent of how it looks: results in, words, numbers and tables out.

HTML, Markdown and the model card print the same values because they are formatted once, here.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastwhisper_compress.report import artifact_tables as inside
from fastwhisper_compress.report import eval_tables as seen
from fastwhisper_compress.report.format import (
    count,
    megabytes,
    number,
    percent,
    plural,
    points,
    ratio,
    saved,
    seconds,
)
from fastwhisper_compress.report.judge import SYNTHETIC, Mark, is_slower, marks, vram_saved_pct
from fastwhisper_compress.report.memory_tables import MemorySection, memory_section
from fastwhisper_compress.report.table import Table
from fastwhisper_compress.report.throughput import throughput_table
from fastwhisper_compress.report.training import training_table

if TYPE_CHECKING:
    from fastwhisper_compress.report.model import Results
    from fastwhisper_compress.report.recordings import RecordingsSection
    from fastwhisper_compress.report.utterances import Worst


@dataclass(frozen=True)
class Card:
    """A key figure: what it was, what it is and what that amounts to."""

    name: str
    before: str
    after: str
    change: str
    tone: str = "good"
    mark: str = ""


@dataclass(frozen=True)
class View:
    """Everything that a report shows, in reading order."""

    title: str
    subtitle: str
    description: str
    verdict: str
    marks: tuple[Mark, ...]
    cards: tuple[Card, ...]
    synthetic: str
    precisions: Table
    groups: Table
    modules: Table
    passes: Table
    fusions: Table
    verification: Table
    gate: str
    evaluation: Table
    offload: Table | None
    training: Table | None
    throughput: Table | None
    statistics: Table
    memory: MemorySection | None
    recordings: RecordingsSection | None
    statement: str
    worst: Worst
    worst_title: str
    worst_summary: str
    failed: Table
    environment: Table
    files: Table
    timings: Table
    command: str
    created: str
    version: str


def build_view(results: Results, worst: Worst, recordings: RecordingsSection | None) -> View:
    """Format a whole run."""
    synthetic = SYNTHETIC if results.suite.synthetic else ""
    return View(
        title=f"{results.recipe.name} on {results.model.id}",
        subtitle=f"Compared with FP32 on {results.suite.name}, {count(results.candidate.eval.n_utterances, 'utterance')}, "
        f"{results.recipe.provider.upper()}",
        description=results.recipe.description,
        verdict=results.verdict,
        marks=marks(results),
        cards=_cards(results),
        synthetic=synthetic,
        precisions=inside.precisions(results),
        groups=inside.groups(results),
        modules=inside.modules(results),
        passes=inside.passes(results),
        fusions=inside.fusions(results),
        verification=seen.verification(results),
        gate=seen.gate(results),
        evaluation=seen.evaluation(results, synthetic),
        offload=seen.offload(results, synthetic),
        training=training_table(results),
        throughput=throughput_table(results, synthetic),
        statistics=seen.statistics(results, synthetic),
        memory=memory_section(results),
        recordings=recordings,
        statement=_sentence(results.delta.statement),
        worst=worst,
        worst_title=f"{plural(results.delta.unit).capitalize()} that lost most",
        worst_summary=seen.worst_summary(worst, results),
        failed=seen.failed(results),
        environment=_environment(results),
        files=inside.files(results),
        timings=Table(
            "Time per stage",
            ("Stage", "Time"),
            tuple((stage, seconds(value)) for stage, value in results.timings_s.items()),
        ),
        command=reproduce(results),
        created=results.created,
        version=results.environment.package_version,
    )


def _sentence(text: str) -> str:
    return text and f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def reproduce(results: Results) -> str:
    """The command that makes this run again, quoted for a POSIX shell; a user's own files are placeholders."""
    recipe, suite = results.recipe, results.suite
    recipe_ref = recipe.name if recipe.shipped else f"PATH/TO/{recipe.name}.yaml"
    suite_ref = suite.name if suite.shipped else f"PATH/TO/{suite.name}.jsonl"
    words = ["python", "-m", "fastwhisper_compress", "run", recipe_ref, "--model", results.model.id]
    words += ["--suite", suite_ref, "--provider", recipe.provider]
    for override in recipe.overrides:
        words += ["-o", override]
    if suite.limit is not None:
        words += ["--limit", str(suite.limit)]
    if results.throughput is not None:
        words += ["--batch-sweep", ",".join(str(point.batch_size) for point in results.throughput.points)]
    return shlex.join(words)


def _tone(value: float) -> str:
    return "good" if value > 0 else "bad" if value < 0 else "same"


def _cards(results: Results) -> tuple[Card, ...]:
    before, after, delta = results.baseline, results.candidate, results.delta
    mark = "synthetic" if results.suite.synthetic else ""
    low, high = delta.ci95_pp or (None, None)
    accuracy = "bad" if low is not None and low > 0 else "good" if high is not None and high < 0 else "same"
    change = "no difference seen" if delta.identical else points(delta.wer_delta_pp)
    cards = [
        Card(after.eval.metric.upper(), percent(before.eval.wer), percent(after.eval.wer), change, accuracy, mark),
        Card(
            "Size on disk",
            megabytes(before.artifact.size_on_disk_bytes),
            megabytes(after.artifact.size_on_disk_bytes),
            saved(delta.size_saved_pct),
            _tone(round(delta.size_saved_pct, 1)),
        ),
        Card(
            "Weights",
            megabytes(before.memory.weight_bytes),
            megabytes(after.memory.weight_bytes),
            saved(delta.weight_saved_pct),
            _tone(round(delta.weight_saved_pct, 1)),
        ),
        Card(
            "Peak RSS",
            megabytes(before.memory.peak_rss_bytes),
            megabytes(after.memory.peak_rss_bytes),
            saved(delta.rss_saved_pct),
            _tone(round(delta.rss_saved_pct, 1)),
            mark,
        ),
    ]
    vram = vram_saved_pct(results)
    if vram is not None:
        sizes = [megabytes(side.memory.peak_vram_bytes or 0) for side in (before, after)]
        cards.append(Card("Peak VRAM", sizes[0], sizes[1], saved(vram), _tone(round(vram, 1)), mark))
    speed = "slower" if is_slower(results) else "the speed" if delta.rtfx_ratio < 1.005 else "faster"
    tone = {"slower": "bad", "faster": "good"}.get(speed, "same")
    text = f"{ratio(delta.rtfx_ratio)} the speed{', slower' if speed == 'slower' else ''}"
    cards.append(Card("RTFx", number(before.eval.rtfx, 1), number(after.eval.rtfx, 1), text, tone, mark))
    return tuple(cards)


def _facts(results: Results) -> tuple[tuple[str, str], ...]:
    model, suite, limit = results.model, results.suite, results.suite.limit
    revision = f", revision {model.revision}" if model.revision else ""
    utterances = f"{count(suite.n_utterances, 'utterance')}{f', limited to {limit}' if limit is not None else ''}"
    return (
        ("Model", f"{model.id} ({number(model.parameters / 1e6, 1)} M parameters, from {model.source_kind}{revision})"),
        ("Model digest", model.digest),
        ("Recipe", results.recipe.name),
        ("Recipe digest", results.recipe.digest),
        ("Overrides", ", ".join(results.recipe.overrides) or "none"),
        (
            "Encoder context",
            "full window"
            if results.recipe.encoder_margin_s is None
            else f"elastic, margin {results.recipe.encoder_margin_s:g} s",
        ),
        (
            "Calibration",
            "none"
            if results.recipe.calibration is None
            else f"{results.recipe.calibration.suite}, {count(results.recipe.calibration.n_utterances, 'utterance')}, "
            f"{results.recipe.calibration.digest}",
        ),
        (
            "Suite",
            f"{suite.name}, {suite.language}, {utterances}{', synthetic' if suite.synthetic else ''}, licence {suite.license}",
        ),
        ("Suite revision", suite.revision or "none"),
        ("Suite digest", suite.digest),
    )


def _environment(results: Results) -> Table:
    env = results.environment
    rows = [
        *_facts(results),
        ("Provider", f"{results.candidate.artifact.provider} (available: {', '.join(env.providers)})"),
        ("KV cache", results.candidate.artifact.kv_dtype),
        (
            "Processor",
            f"{env.cpu}, {count(env.cores, 'core')}, {count(env.threads or 0, 'thread') if env.threads else 'default threads'}",
        ),
        ("Vector extensions", ", ".join(env.isa) or "not known"),
        ("GPU", ", ".join(env.gpus) or "none"),
        ("Memory", megabytes(env.memory_bytes)),
        ("Variables", ", ".join(f"{name}={value}" for name, value in env.variables.items()) or "none that matter"),
        ("Platform", env.platform),
        ("Python", env.python),
        ("fastwhisper_compress", env.package_version),
        *((name, version or "not installed") for name, version in env.versions.items()),
    ]
    return Table("Where and with what these figures were measured", ("", "Value"), tuple(rows), n_labels=2)

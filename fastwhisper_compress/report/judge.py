"""What a run amounts to: the verdict in one sentence, and the marks a reader must not miss.

The rule for harm is fixed and printed: a loss of one percentage point or more. It is judged on the upper end of the 95 %
interval (of the two intervals, the one that reaches further), never on the point estimate alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from fastwhisper_compress.report.format import (
    count,
    interval,
    megabytes,
    number,
    percent,
    points,
    ratio,
    saved,
    units,
)

if TYPE_CHECKING:
    from fastwhisper_compress.report.model import Results

HARMFUL_LOSS_PP = 1.0
SAME_TIME = timedelta(hours=1)
SYNTHETIC = "synthetic speech"


class Mark(NamedTuple):
    """A short warning and how bad it is: ``bad``, ``warn`` or ``note``."""

    text: str
    tone: str


def worst_case_pp(results: Results) -> float | None:
    """The largest loss that the 95 % intervals leave open; None where no interval exists."""
    delta = results.delta
    uppers = [bounds[1] for bounds in (delta.ci95_pp, delta.ci95_by_speaker_pp) if bounds]
    return max(uppers, default=None)


def is_slower(results: Results) -> bool:
    """Slower at the precision that is printed: 0.998 reads 1.00 and is called equal."""
    return round(results.delta.rtfx_ratio, 2) < 1


def saves_no_rss(results: Results) -> bool:
    """No saving of peak memory, at the precision that is printed."""
    return round(results.delta.rss_saved_pct, 1) <= 0


def measured_apart(results: Results) -> bool:
    """Whether the speeds may compare an idle with a busy machine: measured over an hour apart, or no one knows when."""
    times = [_time(side.eval.measured_at) for side in (results.baseline, results.candidate)]
    return times[0] is None or times[1] is None or abs(times[0] - times[1]) > SAME_TIME


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def vram_saved_pct(results: Results) -> float | None:
    """Share of peak video memory saved, where both sides were measured on a GPU."""
    before, after = results.baseline.memory.peak_vram_bytes, results.candidate.memory.peak_vram_bytes
    return 100 * (1 - after / before) if before and after is not None else None


def saves_no_vram(results: Results) -> bool:
    """The same for video memory; false where it was not measured."""
    vram = vram_saved_pct(results)
    return vram is not None and round(vram, 1) <= 0


def loss_text(results: Results) -> str:
    """What the evidence says about accuracy, without the numbers."""
    delta, worst = results.delta, worst_case_pp(results)
    if delta.identical:
        return f"no difference seen in {units(delta.n_units, delta.unit)}, which is not proof of none"
    if worst is None:
        return "no interval could be computed, so a harmful loss is not excluded"
    lowest = min(bounds[0] for bounds in (delta.ci95_pp, delta.ci95_by_speaker_pp) if bounds)
    harm = f"{HARMFUL_LOSS_PP:g} pp or more"
    if worst >= HARMFUL_LOSS_PP:
        established = lowest >= HARMFUL_LOSS_PP
        return f"a harmful loss of {harm} is {'established' if established else 'not excluded by the interval'}"
    if lowest > 0:
        return f"a loss is established, but one of {harm} is excluded"
    return "an improvement on this suite" if worst < 0 else f"a loss of {harm} is excluded"


def _accuracy(results: Results) -> str:
    before, after, delta = results.baseline.eval, results.candidate.eval, results.delta
    name = after.metric.upper()
    change = f"{name} {percent(before.wer)} to {percent(after.wer)}"
    if delta.identical:
        return f"{change}: {loss_text(results)}"
    bounds = f"95 % interval {interval(delta.ci95_pp)}" if delta.ci95_pp else "no 95 % interval"
    if delta.ci95_by_speaker_pp:
        bounds += f", by speaker {interval(delta.ci95_by_speaker_pp)}"
    return (
        f"{change}, {points(delta.wer_delta_pp)} ({bounds}, {units(delta.n_units, delta.unit)}): {loss_text(results)}"
    )


def _memory(results: Results) -> str:
    before, after, delta = results.baseline, results.candidate, results.delta
    disk = f"{megabytes(before.artifact.size_on_disk_bytes)} to {megabytes(after.artifact.size_on_disk_bytes)} on disk"
    rss = f"{megabytes(before.memory.peak_rss_bytes)} to {megabytes(after.memory.peak_rss_bytes)} peak RSS"
    text = f"{disk} ({saved(delta.size_saved_pct)}) and {rss} ({saved(delta.rss_saved_pct)})"
    vram = vram_saved_pct(results)
    if vram is not None:
        sizes = (before.memory.peak_vram_bytes or 0, after.memory.peak_vram_bytes or 0)
        text += f", peak VRAM {megabytes(sizes[0])} to {megabytes(sizes[1])} ({saved(vram)})"
    return text


def _speed(results: Results) -> str:
    shown = ratio(results.delta.rtfx_ratio)
    if is_slower(results):
        return f"slower than FP32 ({shown} its speed)"
    return "as fast as FP32" if round(results.delta.rtfx_ratio, 2) == 1 else f"{shown} the speed of FP32"


def verdict(results: Results) -> str:
    """One honest sentence: what it saves, what it costs in accuracy, and every reason to distrust either."""
    caveats: list[str] = []
    gate = results.candidate.verify.gate
    if gate is not None and not gate.passed:
        caveats.append("it fails its quality gate")
    if saves_no_rss(results):
        caveats.append("it saves no memory at run time")
    if saves_no_vram(results):
        caveats.append("it saves no video memory")
    if failed := len(results.candidate.eval.failed):
        caveats.append(f"{count(failed, 'audio file')} failed and {'counts' if failed == 1 else 'count'} as deletions")
    if results.suite.synthetic:
        caveats.append("the speech is synthetic, so expect other error rates on real speech")
    if not results.comparable:
        caveats.append(
            f"this run is limited and not comparable ({results.not_comparable_because or 'reason not given'})"
        )
    sentence = f"{results.recipe.name} takes {results.model.id} from {_memory(results)}, {_speed(results)}; {_accuracy(results)}"
    return "; ".join([sentence, *caveats]) + "."


def marks(results: Results) -> tuple[Mark, ...]:
    """The same reasons as short tags, worst first."""
    worst, gate = worst_case_pp(results), results.candidate.verify.gate
    open_loss = not results.delta.identical and (worst is None or worst >= HARMFUL_LOSS_PP)
    resumed = results.baseline.eval.resumed_rows > 0 or results.candidate.eval.resumed_rows > 0
    found = (
        (gate is not None and not gate.passed, Mark("gate failed", "bad")),
        (not results.comparable, Mark("not comparable", "bad")),
        (open_loss, Mark(f"{number(HARMFUL_LOSS_PP)} pp loss not excluded", "bad")),
        (saves_no_rss(results), Mark("saves no memory at run time", "bad")),
        (saves_no_vram(results), Mark("saves no video memory", "bad")),
        (is_slower(results), Mark("slower than FP32", "bad")),
        (bool(results.candidate.eval.failed), Mark("failed audio", "warn")),
        (measured_apart(results), Mark("speeds measured at different times", "warn")),
        (resumed, Mark("resumed run", "warn")),
        (results.suite.synthetic, Mark(SYNTHETIC, "warn")),
    )
    return tuple(mark for applies, mark in found if applies)

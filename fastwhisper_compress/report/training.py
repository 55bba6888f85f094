"""What was learnt: a table of the trainings, and their loss curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import number, seconds
from fastwhisper_compress.report.svg import ACCENT, NARROW, WIDE, Plot, dress, plot
from fastwhisper_compress.report.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from fastwhisper_compress.report.model import Results
    from fastwhisper_compress.report.training_model import TrainingLog

_SPAN = 10  # steps that a mean is taken over: batches differ more than the loss falls from one step to the next


def training_table(results: Results) -> Table | None:
    """Format the trainings; None where nothing was learnt."""
    if not results.training:
        return None
    return Table(
        "Passes that learnt from the text and the activations of their teacher",
        ("Pass", "Steps", "Clips", "Speech", "Loss at first", "Loss at last", "Time"),
        tuple(_row(log) for log in results.training),
        note=f"Losses are means over {_SPAN} steps; no transcript was used.",
    )


def training_plot(results: Results) -> Plot | None:
    """Draw the loss over the steps of each training; None where nothing was learnt."""
    if not results.training:
        return None
    told = [f"{log.name}: loss {_loss(_first(log))} at first, {_loss(_last(log))} at last" for log in results.training]
    label = "Loss by step; " + "; ".join(told) + "."
    return plot("training", label, lambda figure, narrow: _draw(figure, narrow, results.training))


def _row(log: TrainingLog) -> tuple[str, ...]:
    return (
        log.name,
        number(len(log.points)),
        number(log.n_clips),
        seconds(log.audio_s),
        _loss(_first(log)),
        _loss(_last(log)),
        seconds(sum(point.seconds for point in log.points)),
    )


def _draw(figure: Figure, narrow: bool, logs: Sequence[TrainingLog]) -> None:
    figure.set_size_inches(NARROW if narrow else WIDE, 2.6 * len(logs))
    for place, log in enumerate(logs, start=1):
        axes = dress(figure.add_subplot(len(logs), 1, place))
        steps, losses = [point.step for point in log.points], [point.loss for point in log.points]
        axes.plot(steps, losses, color=ACCENT, linewidth=0.7, alpha=0.4)
        means = [sum(losses[max(0, i - _SPAN + 1) : i + 1]) / min(i + 1, _SPAN) for i in range(len(losses))]
        axes.plot(steps, means, color=ACCENT, linewidth=1.6)
        axes.set_ylabel(f"loss, {log.name}")
        axes.set_ylim(0, 1.08 * max(losses))
        axes.set_xlabel("step")


def _first(log: TrainingLog) -> float:
    losses = [point.loss for point in log.points[:_SPAN]]
    return sum(losses) / len(losses)


def _last(log: TrainingLog) -> float:
    losses = [point.loss for point in log.points[-_SPAN:]]
    return sum(losses) / len(losses)


def _loss(value: float) -> str:
    return number(value, 4)

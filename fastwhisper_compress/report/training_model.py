"""What results.json says of the passes that learnt."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from fastwhisper_compress.report.memory_model import Record


class TrainingPoint(Record):
    """One step: the loss and its parts before their weights, and how it was made."""

    step: PositiveInt
    loss: float
    kl: float
    ce: float
    hidden: float
    grad_norm: float | None  # None: beyond half precision, the step was left out
    learning_rate: float
    seconds: NonNegativeFloat


class TrainingLog(Record):
    """A training from its first step to its last."""

    name: str = Field(alias="pass")
    n_clips: NonNegativeInt
    audio_s: NonNegativeFloat
    points: Annotated[tuple[TrainingPoint, ...], Field(min_length=1)]

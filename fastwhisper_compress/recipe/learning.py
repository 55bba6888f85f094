"""The passes that learn: weights change so that a student does what its teacher does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fastwhisper_compress.recipe.base import ModuleLike, TargetedPass


class Training(TargetedPass):
    """What the passes that learn have in common: a teacher, whose text and activations the student is to reproduce.

    They listen to all of the recipe's calibration speech and need no transcripts: the teacher says what is heard. Only the
    modules in ``targets`` change.
    """

    kinds = frozenset({"linear", "embedding", "conv", "positions", "layer_norm"})
    stage = "weights"

    teacher: str | None = Field(
        default=None,
        min_length=1,
        description="Checkpoint to learn from, of the same vocabulary; without it, the recipe's model before any pass.",
    )
    steps: int = Field(default=200, ge=1, le=10_000_000, description="How often the weights are changed.")
    batch_size: int = Field(default=8, ge=1, le=65_536, description="Clips that each step learns from.")
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="How many of them are in memory at once; without it, as many as fit. It changes no result.",
    )
    learning_rate: float = Field(default=5e-5, gt=0, le=1, description="The highest; it falls along a cosine.")
    warmup_steps: int = Field(default=10, ge=0, le=10_000_000, description="Steps in which it rises from zero.")
    kl_weight: float = Field(
        default=1.0, ge=0, le=1e6, description="Weight of how far the scores of each token are from the teacher's."
    )
    hidden_weight: float = Field(
        default=1.0,
        ge=0,
        le=1e6,
        description="Weight of how far the outputs of encoder and decoder are from the teacher's, relative to their size.",
    )
    ce_weight: float = Field(
        default=0.0, ge=0, le=1e6, description="Weight of the cross entropy on the teacher's own text."
    )
    temperature: float = Field(
        default=1.0, gt=0, le=100, description="Above 1 the scores of improbable tokens count more."
    )
    clip_norm: float = Field(default=1.0, gt=0, le=1e6, description="Longest gradient; a longer one is scaled down.")
    gradient_checkpointing: bool = Field(
        default=False, description="Keep only each layer's input and compute the rest again: less memory, more time."
    )
    mixed_precision: Literal["no", "fp16", "bf16"] = Field(
        default="no", description="Type that products are computed in; the weights stay FP32. fp16 needs a GPU."
    )
    checkpoint_every: int = Field(
        default=25, ge=1, le=10_000_000, description="After so many steps the state is kept, to go on from when killed."
    )

    def takes(self, module: ModuleLike) -> bool:
        """Whether it can be trained: the encoder's positions are sines, not weights."""
        return super().takes(module) and module.path != "encoder.embed_positions"

    @property
    def calibrated(self) -> bool:
        """It always is: the speech is what it learns from."""
        return True


class Distill(Training):
    """Recover by training what the passes before it cost: the teacher's scores and activations are the aim."""

    pass_: Literal["distill"] = Field(default="distill", alias="pass")


class Qat(Training):
    """The same, with every module computed in the precision that the recipe gives it, so that the weights learn to bear it."""

    pass_: Literal["qat"] = Field(default="qat", alias="pass")


class ElasticContext(Training):
    """Learn to hear a clip without the silence that fills Whisper's window, which an elastic encoder context leaves out."""

    pass_: Literal["elastic_context"] = Field(default="elastic_context", alias="pass")
    margin_s: float = Field(
        default=1.0, ge=0, lt=30, description="Least seconds behind the clip; the full window is heard as well."
    )

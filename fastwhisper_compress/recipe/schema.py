"""What a recipe can say: one frozen pydantic model per pass, and the recipe that lists them.

Passes that change shapes are in :mod:`fastwhisper_compress.recipe.shapes`, those that learn in
:mod:`fastwhisper_compress.recipe.learning`.

The models are the only definition. The JSON Schema that editors use, the nearest-name suggestions of the loader and
the digest of a recipe are derived from them.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from fastwhisper_compress.recipe.base import BasePass, ModuleLike, StrictModel, TargetedPass, WholeNumber
from fastwhisper_compress.recipe.learning import Distill, ElasticContext, Qat
from fastwhisper_compress.recipe.shapes import DropLayers, LowRank, Prune

# Told apart before either is tried, so that a wrong value is complained of once.
BatchSize = Annotated[
    Annotated[int, Field(ge=1, le=1024), Tag("number")] | Annotated[Literal["auto"], Tag("word")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "number"),
]


class Fp16(TargetedPass):
    """Keep weights in half precision: storage only on CPU, storage and arithmetic on CUDA."""

    kinds = frozenset({"linear", "embedding", "conv", "positions"})
    stage = "precision"

    pass_: Literal["fp16"] = Field(default="fp16", alias="pass")


class Int8Dynamic(TargetedPass):
    """8-bit weights (a scale per output channel) and 8-bit activations quantised on the fly: W8A8."""

    kinds = frozenset({"linear", "embedding"})
    stage = "precision"

    pass_: Literal["int8_dynamic"] = Field(default="int8_dynamic", alias="pass")
    split_outliers: bool = Field(
        default=False,
        description="Compute the few feed-forward channels whose values dwarf all others in FP32, and the rest in 8 "
        "bits. They are found from the weights.",
    )


class WeightOnly(TargetedPass):
    """8-bit or 4-bit weights in groups that share a scale. On CPU the kernel rounds activations to 8 bits, a block at a time; on CUDA they stay FP16."""

    kinds = frozenset({"linear", "embedding"})
    stage = "precision"

    pass_: Literal["weight_only"] = Field(default="weight_only", alias="pass")
    bits: Annotated[Literal[4, 8], WholeNumber] = Field(description="Bits per weight: 4 or 8.")
    group_size: Annotated[Literal[16, 32, 64, 128, 256], WholeNumber] = Field(
        default=32, description="How many neighbouring weights share one scale: 16, 32, 64, 128 or 256."
    )
    symmetric: bool = Field(
        default=True, description="True: zero is the middle of the range; false: each group shifts."
    )
    method: Literal["nearest", "search", "gptq"] = Field(
        default="nearest",
        description="How weights become integers: nearest rounds each; search looks for the scales of least error at the "
        "output; gptq also lets the weights still to be rounded make up for the error so far. The last two calibrate.",
    )

    @property
    def calibrated(self) -> bool:
        """Whether the error is judged by what the weights are multiplied with."""
        return self.method != "nearest"


class Smooth(TargetedPass):
    """Move outliers of activations into the weights that read them; the network computes what it did before."""

    kinds = frozenset({"layer_norm", "attention"})
    stage = "weights"

    pass_: Literal["smooth"] = Field(default="smooth", alias="pass")
    alpha: float = Field(
        default=0.5, ge=0, le=1, description="How much of the outliers moves: 0 only evens out weights, 1 takes it all."
    )

    def takes(self, module: ModuleLike) -> bool:
        """Whether its outputs can be scaled: not those of the last layer norm, which the tied embedding reads."""
        return super().takes(module) and module.path != "decoder.layer_norm"

    @property
    def calibrated(self) -> bool:
        """It always is: the outliers are those of activations."""
        return True


class Int8CrossKv(TargetedPass):
    """Keep the audio's keys and values, which the decoder reads whole at every token, in 8 bits: a scale per clip and channel. CPU only."""

    kinds = frozenset({"attention"})
    stage = "graph"

    pass_: Literal["int8_cross_kv"] = Field(default="int8_cross_kv", alias="pass")

    def takes(self, module: ModuleLike) -> bool:
        """Whether it attends to audio."""
        return super().takes(module) and module.path.endswith(".encoder_attn")


class Fuse(TargetedPass):
    """Write ONNX Runtime's fused operators where one is faster, in place of chains of standard operators."""

    kinds = frozenset({"linear", "embedding", "conv", "attention", "layer_norm"})
    stage = "graph"

    pass_: Literal["fuse"] = Field(default="fuse", alias="pass")


Pass = Annotated[
    Fp16
    | Int8Dynamic
    | WeightOnly
    | Prune
    | LowRank
    | DropLayers
    | Smooth
    | Distill
    | Qat
    | ElasticContext
    | Int8CrossKv
    | Fuse,
    Field(discriminator="pass_"),
]

PASSES: dict[str, type[BasePass]] = {
    "fp16": Fp16,
    "int8_dynamic": Int8Dynamic,
    "weight_only": WeightOnly,
    "prune": Prune,
    "low_rank": LowRank,
    "drop_layers": DropLayers,
    "smooth": Smooth,
    "distill": Distill,
    "qat": Qat,
    "elastic_context": ElasticContext,
    "int8_cross_kv": Int8CrossKv,
    "fuse": Fuse,
}


class Gate(StrictModel):
    """What the artifact must reach before it is published."""

    token_agreement: float = Field(
        ge=0, le=1, description="Least share of greedy tokens that must equal those of the FP32 model, 0 to 1."
    )


class Recipe(StrictModel):
    """What the user asked for: a model, the passes to run over it, and what to measure it on."""

    version: Annotated[Literal[1], WholeNumber] = Field(description="Version of the recipe format: 1.")
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        max_length=80,
        description="Short name: lower case letters, digits, '_', '.' and '-'.",
    )
    description: str = Field(default="", max_length=2000, description="What the recipe does and when to choose it.")
    model: str = Field(
        default="openai/whisper-tiny.en",
        min_length=1,
        description="Checkpoint: a hub id, a folder, or a file.",
    )
    revision: str | None = Field(default=None, min_length=1, description="Commit, branch or tag of the model's hub id.")
    suite: str = Field(default="demo", min_length=1, description="Evaluation suite: a name or a manifest (.jsonl).")
    calibration: str = Field(
        default="calibration",
        min_length=1,
        description="Speech that passes measure activations on, never what is scored: a suite's name or a manifest "
        "(.jsonl), which needs no transcripts.",
    )
    calibration_limit: int = Field(default=64, ge=1, description="How many of its clips are used, from the first on.")
    provider: Literal["cpu", "cuda"] = Field(default="cpu", description="Where the artifact is to run: cpu or cuda.")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads of the runtime; without it, one for each core."
    )
    device: str | None = Field(
        default=None,
        min_length=1,
        max_length=80,
        description="Hardware that the artifact is meant for, by its name in `devices`: `plan` says whether it fits.",
    )
    batch_size: BatchSize = Field(
        default=1,
        description="How many clips are decoded together, unless the command says otherwise; auto is what fits into the "
        "memory that is free when the job runs, 16 at most.",
    )
    offload: Literal["none", "phase", "layers"] = Field(
        default="none",
        description="What leaves memory while it is not needed. phase: encoder and decoder are never loaded together. "
        "layers: weights are streamed from disk, layer by layer. Both save memory and cost time.",
    )
    encoder_context: Literal["full", "elastic"] = Field(
        default="full",
        description="What the encoder is given of a clip: Whisper's full 30 s, or only the clip and a margin (elastic), "
        "which is faster; a transcript that shows signs of going wrong is then made again with the full window.",
    )
    elastic_margin_s: float | None = Field(
        default=None,
        ge=0,
        le=30,
        description="Seconds behind the clip in an elastic context; without it, what was measured for the model.",
    )
    passes: list[Pass] = Field(max_length=64, description="The steps, in the order in which they run.")
    gate: Gate | None = Field(default=None, description="The least quality; without it, the usual gate for the passes.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of everything random.")

    @property
    def active(self) -> list[Pass]:
        """The passes that run for its provider."""
        return [pass_ for pass_ in self.passes if pass_.runs_on(self.provider)]

    @cached_property
    def digest(self) -> str:
        """Identity of what was asked for: comments, key order and spelled-out defaults make no difference.

        Model and speech have digests of their own, by what is in them: where they lie on a machine tells nothing.
        """
        asked = self.model_dump(mode="json", exclude={"model", "suite", "calibration"})
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors and other tools."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def json_schema_text() -> str:
    """The schema as it is committed beside the shipped recipes."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"

"""How much an elastic encoder context must hold behind a clip: measured for each model, kept in eval/margins.yaml."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.evaluation import wer
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.recipe import LoadedRecipe
from fastwhisper_compress.resources import data_dir
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.audio import MAX_CLIP_S, SAMPLE_RATE, read_audio
from fastwhisper_compress.runtime.manifest import EncoderContext
from fastwhisper_compress.runtime.options import Options

_TOLERANCE = 0.0025  # of the error rate against the full window: less says nothing on a hundred clips
_FURTHEST = 0.05  # two windows of one good model differ in 1 to 3 % of the words


def margin_s(loaded: LoadedRecipe, checkpoint: Checkpoint) -> float | None:
    """Return the margin that a recipe asks for, None for the full window.

    Raises:
        RecipeError: The recipe leaves the margin open and none was measured for the model, or it gives one that has no
            effect.
    """
    recipe = loaded.recipe
    if recipe.encoder_context == "full":
        if recipe.elastic_margin_s is not None:
            raise RecipeError(
                "elastic_margin_s has no effect on a full encoder context",
                place=loaded.where(("elastic_margin_s",)),
                remedy="set encoder_context: elastic, or leave the margin out",
            )
        return None
    if recipe.elastic_margin_s is not None:
        return recipe.elastic_margin_s
    known = measured_margins()
    if checkpoint.digest not in known:
        raise RecipeError(
            "no margin of an elastic encoder context was measured for this model",
            place=loaded.where(("encoder_context",)),
            remedy="find one with the command `margin`, then set elastic_margin_s",
        )
    return known[checkpoint.digest]


def measured_margins() -> dict[str, float]:
    """Read the shipped margins, in seconds, by the digest of the checkpoint that they were measured on."""
    from ruamel.yaml import YAML

    rows = YAML(typ="safe", pure=True).load(data_dir("eval") / "margins.yaml")
    return {row["digest"]: float(row["margin_s"]) for row in rows}


@dataclass(frozen=True)
class Trial:
    """What came of one margin.

    Attributes:
        margin_s: The margin; None is the full window.
        difference: Error rate of the texts against those of the full window, a fraction.
        wer: Error rate against the transcripts, a fraction; None where the suite has none.
        redone: Clips that had to be encoded again with the full window.
        rtfx: Seconds of audio a second of computing.
    """

    margin_s: float | None
    difference: float
    wer: float | None
    redone: int
    rtfx: float


def try_margins(
    artifact: Path, suite: Suite, margins: Sequence[float], progress: Callable[[int, int], None], *, threads: int | None
) -> list[Trial]:
    """Transcribe a suite with the full window and with each margin, clip by clip in turns, so that speeds compare."""
    model = load_artifact(artifact, threads=threads)
    contexts = [EncoderContext(), *map(EncoderContext, margins)]
    texts: list[list[str]] = [[] for _ in contexts]
    redone, wall_s, audio_s = [0] * len(contexts), [0.0] * len(contexts), 0.0
    model.transcribe(
        np.zeros(SAMPLE_RATE, np.float32), Options(language="en")
    )  # the first call is slower than all others
    for done, one in enumerate(suite.utterances):
        samples: np.ndarray = read_audio(one.audio, max_s=MAX_CLIP_S)
        audio_s += samples.size / SAMPLE_RATE
        for i, context in enumerate(contexts):
            model.encoder_context = context
            start = time.perf_counter()
            found = model.transcribe(samples, Options(language=one.language))
            wall_s[i] += time.perf_counter() - start
            texts[i].append(found.text)
            redone[i] += found.redone
        progress(done + 1, len(suite.utterances))

    def rate(references: Sequence[str], found: Sequence[str]) -> float:
        return wer.error_rate(wer.total(wer.score(list(zip(references, found, strict=True)), suite.language)))

    spoken = [one.text for one in suite.utterances]
    return [
        Trial(
            context.margin_s,
            rate(texts[0], texts[i]),
            rate(spoken, texts[i]) if all(spoken) else None,
            redone[i],
            audio_s / wall_s[i],
        )
        for i, context in enumerate(contexts)
    ]


def best_margin(trials: Sequence[Trial]) -> float | None:
    """Return the smallest margin whose texts are hardly further from the full window's than any other's.

    None if all of them are too far, or none is faster than the full window: the guard makes those again that went wrong.
    """
    full = next(trial for trial in trials if trial.margin_s is None)
    useful = [
        one for one in trials if one.margin_s is not None and one.rtfx > full.rtfx and one.difference <= _FURTHEST
    ]
    least = min((one.difference for one in useful), default=0.0)
    near = [one.margin_s for one in useful if one.margin_s is not None and one.difference <= least + _TOLERANCE]
    return min(near, default=None)

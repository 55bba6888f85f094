"""The real tiny.en, emitted in the precisions that several tests look at."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from openai_models import openai_model
from small_whisper import recipe_plan, uniform_plan, write_artifact

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.pipeline.calibrate import calibrate
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.recipe import find_recipe, load_recipe
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.audio import read_audio


@pytest.fixture(scope="session")
def tiny_en():
    """The checkpoint of the weights package."""
    return open_checkpoint("openai/whisper-tiny.en", offline=True)


@pytest.fixture(scope="session")
def openai_tiny_en(tiny_en):
    """The same weights in openai-whisper's own model."""
    return openai_model(tiny_en)


@pytest.fixture(scope="session")
def tiny_statistics(tiny_en, tmp_path_factory):
    """A calibration of tiny.en on a few of the shipped clips."""
    folder = tmp_path_factory.mktemp("calibration")
    write_artifact(tiny_en, uniform_plan(tiny_en.dims), folder / "fp32")
    suite = load_suite("calibration", limit=4, transcripts=False)
    return calibrate(Store(folder / "store"), tiny_en, folder / "fp32", suite, lambda *_: None)


@pytest.fixture(scope="session")
def tiny_artifact(tiny_en, tiny_statistics, tmp_path_factory):
    """A function: recipe name, fused? -> the opened artifact."""

    @cache
    def compressed(recipe):
        return recipe_plan(tiny_en, load_recipe(find_recipe(recipe)).recipe, statistics=tiny_statistics)

    @cache
    def tiny_artifact_(recipe, *, fuse=True):
        made = compressed(recipe)
        plan = made.plan  # of the same integers either way: to find them takes long
        if not fuse:
            plan = replace(plan, fuse=frozenset(), cross_int8=frozenset())
        folder = tmp_path_factory.mktemp("tiny_en") / "artifact"
        write_artifact(made.checkpoint, plan, folder)
        return load_artifact(folder, threads=2)

    return tiny_artifact_


@pytest.fixture(scope="session")
def clips():
    """Two utterances of the demo suite, a short and a long one: id to samples."""
    wanted = ("numbers-02", "long-05")
    return {u.id: read_audio(u.audio) for u in load_suite("demo").utterances if u.id in wanted}

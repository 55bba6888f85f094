"""What decides an artifact, and which gate it must pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_whisper import small_checkpoint, with_decoding

from fastwhisper_compress.checkpoint.model import Source
from fastwhisper_compress.emit.precision import FP16, FP32, INT8_DYNAMIC, Precision
from fastwhisper_compress.errors import ProviderError, RecipeError
from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.pipeline.build import Builder, public_id
from fastwhisper_compress.pipeline.gates import load_gates
from fastwhisper_compress.pipeline.prepare import order_of
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.pipeline.verify import parity_clips
from fastwhisper_compress.recipe import load_recipe

GATES = load_gates()
RECIPE = """
version: 1
name: mine
passes:
  - pass: int8_dynamic
    targets: ["*"]
  - pass: fuse
"""


PARITY = load_suite(GATES.suite)


class Recorder(Store):
    """A store that makes nothing."""

    def stage(self, kind, spec, make):
        self.root.write_text(str(self.path(kind, spec)))
        self.specs.append(spec)
        return self.path(kind, spec)


@pytest.fixture
def built(tmp_path):
    """A function: recipe and overrides -> what the stage is found by."""

    mine = tmp_path / "mine.yaml"
    mine.write_text(RECIPE)

    def built_(*overrides, recipe=mine, checkpoint=None, gates=GATES, baseline=None, parity=PARITY):
        checkpoint = checkpoint or small_checkpoint()
        order = order_of(load_recipe(recipe, overrides), checkpoint)
        store = Recorder(tmp_path / "x")
        object.__setattr__(store, "specs", [])
        Builder(store, checkpoint, gates, parity, lambda *_: None).build(order, baseline)
        return store.path("artifact", store.specs[0]), store.specs[0]

    return built_


def test_the_shipped_gates_are_those_of_the_documentation():
    assert GATES.agreement == {"fp32": 0.999, "fp16": 0.99, "int8": 0.90, "int4": 0.80}
    assert GATES.fp32_error == {"log_mel": 5e-5, "encoder": 2.5e-4, "logits": 1e-3}
    clips = parity_clips(PARITY, GATES.clips)
    assert len({clip.id.split("-")[0] for clip in clips}) >= 8, "most categories of the suite"
    assert sum(clip.samples.size > 8 * 16_000 for clip in clips) >= 2, "long clips too"


@pytest.mark.parametrize(
    ("used", "least"),
    [
        ([], 0.999),
        ([FP32], 0.999),
        ([FP16, FP32], 0.99),
        ([FP16, INT8_DYNAMIC], 0.90),
        ([INT8_DYNAMIC, Precision("weight_only", 4, 32, True), FP16], 0.80),
    ],
)
def test_the_lowest_precision_sets_the_gate(used, least):
    assert GATES.token_agreement(dict(enumerate(used))) == least


def test_gates_are_read_from_a_file(tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text(
        "parity_set: {suite: x, clips: [a, b]}\ntoken_agreement: {int8: 0.5}\nfp32_error: {logits: 1.0e-2}\n"
    )
    gates = load_gates(path)
    assert (gates.suite, gates.clips, gates.agreement, gates.fp32_error) == (
        "x",
        ("a", "b"),
        {"int8": 0.5},
        {"logits": 0.01},
    )


def test_a_recipes_own_gate_wins(built):
    assert built()[1]["gate"] == 0.90
    assert built("gate.token_agreement=0.123")[1]["gate"] == 0.123
    assert built(recipe="prune_l1_20")[1]["gate"] == 0.8


def test_what_does_not_change_the_graphs_does_not_change_the_stage(built):
    path, _ = built()
    same = ("description=other", "suite=other", "model=other", "threads=1", "name=other", "passes.0.targets=[re:.*]")
    assert {built(override)[0] for override in same} == {path}


def test_what_changes_the_graphs_changes_the_stage(built):
    original = small_checkpoint()
    changes = (
        {"checkpoint": small_checkpoint(1)},
        {"checkpoint": with_decoding(original, suppress=(1,))},
        {"checkpoint": replace(original, tokenizer_json=original.tokenizer_json + b" ")},
        {"checkpoint": replace(original, source=replace(original.source, id="another"))},
        {"baseline": Path("another")},
        {"gates": replace(GATES, clips=GATES.clips[1:])},
        {"parity": replace(PARITY, utterances=PARITY.utterances[1:])},
    )
    paths = [built(**change)[0] for change in changes]
    overrides = ("passes.0.ignore=[encoder]", "gate.token_agreement=0.95", "seed=1")
    paths += [built(override)[0] for override in overrides]
    paths += [built()[0], built(recipe="fp16")[0]]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("asked", "path", "told"),
    [
        ("/data/models/mine", "/data/models/mine", "mine"),
        ("models/mine.pt", "models/mine.pt", "mine.pt"),
        ("models/mine/", "models/mine", "mine"),
        ("openai/whisper-tiny.en", "/cache/x", "openai/whisper-tiny.en"),
    ],
)
def test_a_path_is_told_by_its_last_part(asked, path, told):
    assert public_id(Source(asked, "huggingface", path, None)) == told


def test_int8_dynamic_is_refused_on_cuda_with_the_way_out(built):
    with pytest.raises(ProviderError, match="int8_dynamic") as caught:
        built("provider=cuda")
    assert "weight_only" in caught.value.remedy


@pytest.mark.parametrize("recipe", ["int8_smooth", "int4_weight_only"])
def test_a_pass_that_calibrates_is_refused_without_speech(built, recipe):
    with pytest.raises(RecipeError, match="needs to know what activations look like") as caught:
        built(recipe=recipe, baseline=Path("fp32"))
    assert "--calibration" in caught.value.remedy
    assert caught.value.exit_code == 2


def test_no_passes_and_smoothing_alone_go_through_the_first_check(built):
    assert built("passes=[]")[1]["heard"] == []
    with pytest.raises(RecipeError, match="smooth needs"):  # of the second one
        built("passes=[{pass: smooth}]")


def test_layers_that_cannot_be_streamed_are_refused_before_any_work(built):
    with pytest.raises(RecipeError, match="cannot stream int8_dynamic") as caught:
        built("offload=layers")
    assert "offload: phase" in caught.value.remedy
    with pytest.raises(RecipeError, match="for cuda"):
        built("offload=layers", "provider=cuda", recipe="fp16")
    stages = {built(f"offload={mode}", recipe="fp16")[0] for mode in ("none", "phase", "layers")}
    assert len(stages) == 3

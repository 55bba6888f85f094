"""Dropped layers: a shallower Whisper, and everything that is known by a layer's number."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from small_whisper import (
    made_up_statistics,
    opened,
    recipe_plan,
    small_checkpoint,
    speech_like,
    uniform_plan,
    with_decoding,
    write_artifact,
)

from fastwhisper_compress.checkpoint.dims import modules, tensor_shapes
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.memory.layout import lay_out, layout_of
from fastwhisper_compress.memory.weights import stored_bytes
from fastwhisper_compress.passes.drop_layers import drop_layers
from fastwhisper_compress.pipeline.reference import Reference
from fastwhisper_compress.recipe import DropLayers, Recipe, Smooth, check_against, load_recipe
from fastwhisper_compress.recipe.layers import composed, original, renumbered

CHECKPOINT = with_decoding(
    small_checkpoint(9, encoder_layers=3, decoder_layers=4), alignment_heads=((0, 1), (1, 0), (3, 0), (3, 1))
)
PROMPT, TEXT, SAMPLES = (257, 270), tuple(b"Some words."), speech_like(0.5, 4)
RECIPE = """version: 1
name: x
passes:
  - {pass: drop_layers, decoder_keep: [0, 3], encoder_keep: [0, 2]}
  - {pass: int8_dynamic, targets: [decoder.layers.1]}
  - pass: fuse
"""


@pytest.fixture
def write(tmp_path):
    def write_(text):
        path = tmp_path / "x.yaml"
        path.write_text(text)
        return path

    return write_


def dropped(checkpoint=CHECKPOINT, **kept) -> Checkpoint:
    return drop_layers(checkpoint, DropLayers(**kept).kept(checkpoint.dims.depths))[0]


def test_it_is_a_whisper_of_fewer_layers_and_computes_as_one(tmp_path):
    smaller, note = drop_layers(CHECKPOINT, {"encoder": (2,), "decoder": (0, 3)})
    assert note == "1 of 3 encoder layers kept (2); 2 of 4 decoder layers kept (0, 3)"
    assert (smaller.dims.encoder_layers, smaller.dims.decoder_layers) == (1, 2)
    assert {name: tensor.shape for name, tensor in smaller.tensors.items()} == tensor_shapes(smaller.dims)
    for new, old in (
        ("encoder.layers.0.fc1", "encoder.layers.2.fc1"),
        ("decoder.layers.1.fc2", "decoder.layers.3.fc2"),
    ):
        assert smaller.tensors[f"{new}.weight"] is CHECKPOINT.tensors[f"{old}.weight"]
    assert smaller.decoding.alignment_heads == ((0, 1), (1, 0), (1, 1))
    reference = Reference(smaller)
    artifact = opened(smaller, uniform_plan(smaller.dims), tmp_path / "a")
    hidden = reference.encode(artifact.log_mel(SAMPLES))
    encoded = artifact.encode([SAMPLES], hidden=True)
    assert np.abs(encoded.hidden - hidden).max() < 1e-3
    assert np.abs(artifact.forced_logits(encoded, PROMPT, TEXT) - reference.logits(hidden, PROMPT, TEXT)).max() < 1e-3
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (config["encoder_layers"], config["decoder_layers"]) == (1, 2)


def test_later_passes_know_the_layers_by_their_new_numbers(write):
    loaded = load_recipe(write(RECIPE))
    gone, halved, fused = check_against(loaded, modules(CHECKPOINT.dims))
    assert {path.split(".")[2] for path in gone if path.startswith("decoder")} == {"1", "2"}
    assert {path.split(".")[2] for path in gone if path.startswith("encoder")} == {"1"}
    assert all(path.startswith("decoder.layers.1.") for path in halved)
    assert not any("layers.2" in path for path in fused)
    with pytest.raises(RecipeError, match=r"'decoder.layers.2' matches no module"):
        check_against(
            load_recipe(write(RECIPE.replace("decoder.layers.1", "decoder.layers.2"))), modules(CHECKPOINT.dims)
        )


@pytest.mark.parametrize(("depth", "kept"), [(4, (0, 3)), (5, (0, 4)), (6, (0, 2, 5)), (8, (0, 2, 5, 7)), (32, None)])
def test_half_of_the_layers_lie_as_far_apart_as_can_be(depth, kept):
    found = DropLayers(halve="decoder").kept({"encoder": 6, "decoder": depth})["decoder"]
    assert kept in (None, found)
    assert len(found) == depth // 2
    assert found[0] == 0
    assert found[-1] == depth - 1
    assert {2, 3} >= {other - one for one, other in pairwise(found)} or depth < 6


def test_half_is_what_its_layers_are_when_named():
    halved, named = (dropped(**how) for how in ({"halve": "decoder"}, {"decoder_keep": [0, 3]}))
    assert halved.dims == named.dims
    assert all(halved.tensors[name] is tensor for name, tensor in named.tensors.items())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("decoder_keep: [0, 3]", "decoder_keep: [0, 3], halve: decoder", "and so does decoder_keep"),
        ("decoder_keep: [0, 3]", "halve: text", "'halve' must be"),
        (
            "decoder_keep: [0, 3], encoder_keep: [0, 2]",
            "halve: encoder",
            "x.yaml:4:32: the encoder has 3 layers, too few",
        ),
        ("encoder_keep: [0, 2]", "halve: encoder", "the encoder has 3 layers, too few"),
        ("[0, 3]", "[0, 4]", r"x.yaml:4:43: there is no layer 4 in the decoder, which has 4"),
        ("[0, 3]", "[3, 0]", r"'decoder_keep' must be ascending"),
        ("[0, 3]", "[0, 0]", r"'decoder_keep' must be ascending"),
        ("[0, 3]", "[]", r"'decoder_keep' must not be empty"),
        ("[0, 3]", "[-1]", r"'decoder_keep\[0\]' must be at least 0"),
        ("decoder_keep: [0, 3], encoder_keep: [0, 2]", "decoder_keep: [0, 1, 2, 3]", "keeps every layer"),
        ("drop_layers, ", "drop_layers, targets: [decoder], ", "unknown key 'targets'"),
        ("  - pass: fuse\n", "  - {pass: drop_layers, decoder_keep: [0]}\n", "gives new numbers to modules"),
    ],
)
def test_what_a_model_does_not_have_is_refused_with_its_place(write, old, new, message):
    assert old in RECIPE
    with pytest.raises(RecipeError, match=message) as caught:
        check_against(load_recipe(write(RECIPE.replace(old, new))), modules(CHECKPOINT.dims))
    assert caught.value.remedy


def test_the_estimate_is_that_of_the_layers_left_from_recipe_and_manifest(write, tmp_path):
    loaded = load_recipe(write(RECIPE))
    made = recipe_plan(CHECKPOINT, loaded.recipe)
    emission = write_artifact(made.checkpoint, made.plan, tmp_path / "a")
    manifest = {
        "model": {"dims": vars(CHECKPOINT.dims)},
        "provider": "cpu",
        "offload": "none",
        "passes": [one.model_dump(mode="json", exclude={"only_on"}) for one in loaded.recipe.passes],
        "modules": [row.to_json() for row in emission.modules],
    }
    for layout in (lay_out(loaded, CHECKPOINT.dims), layout_of(manifest)):
        told = {module.path: stored_bytes(layout, module, precision) for module, precision in layout.modules()}
        assert told == {row.path: row.bytes for row in emission.modules}
        assert (layout.dims.encoder_layers, layout.dims.decoder_layers) == (2, 2)


def test_calibration_follows_the_layers():
    statistics = made_up_statistics(CHECKPOINT.dims)
    found = recipe_plan(
        CHECKPOINT,
        Recipe(version=1, name="x", passes=[Smooth(), DropLayers(decoder_keep=[1, 3]), DropLayers(decoder_keep=[1])]),
    )
    for leaf in ("fc2", "final_layer_norm"):
        new, old = f"decoder.layers.0.{leaf}", f"decoder.layers.3.{leaf}"
        divisor = found.statistics.divisors.get(new, 1)
        np.testing.assert_allclose(found.statistics.peak(new) * divisor, statistics.peak(old), rtol=1e-6)
    assert not any(name.startswith("decoder.layers.1") for name in found.statistics.divisors)
    assert "encoder.layers.2.final_layer_norm" in found.statistics.divisors


def test_numbers_go_there_and_back():
    kept = {"decoder": (0, 2, 11)}
    for path, new in (
        ("decoder.layers.11.fc1.weight", "decoder.layers.2.fc1.weight"),
        ("decoder.layers.2", "decoder.layers.1"),
        ("encoder.layers.2.fc1", "encoder.layers.2.fc1"),
        ("decoder.layer_norm", "decoder.layer_norm"),
    ):
        assert renumbered(path, kept) == new
        assert original(new, kept) == path
    assert renumbered("decoder.layers.1.fc1", kept) is None
    assert composed(kept, {"decoder": (1, 2), "encoder": (0,)}) == {"decoder": (2, 11), "encoder": (0,)}

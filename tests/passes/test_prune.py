"""Pruning: what is taken away, and that what is left computes the network without it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_whisper import (
    made_up_importance,
    opened,
    recipe_plan,
    small_checkpoint,
    speech_like,
    uniform_plan,
    with_decoding,
    write_artifact,
)

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.passes.apply import apply
from fastwhisper_compress.passes.prune import prune
from fastwhisper_compress.pipeline.reference import Reference
from fastwhisper_compress.recipe import DropLayers, Prune, Recipe, load_recipe, select

CHECKPOINT = small_checkpoint(
    3, d_model=256, encoder_heads=4, decoder_heads=4, decoder_layers=2, encoder_ffn=320, decoder_ffn=192
)
PROMPT, TEXT, SAMPLES = (257, 270), tuple(b"Some words."), speech_like(0.8, 4)


def pruned(granularity, amount, targets=("*",), checkpoint=CHECKPOINT):
    pass_ = Prune(granularity=granularity, amount=amount, targets=list(targets))
    return prune(checkpoint, pass_, select(pass_, modules(checkpoint.dims)))


def by_taylor(*passes, checkpoint=CHECKPOINT):
    return recipe_plan(checkpoint, Recipe(version=1, name="test", passes=list(passes))).checkpoint


def without(checkpoint, smaller):
    """The unpruned shapes with everything that pruning removed set to zero, and nothing else."""
    changed = {}
    for name, tensor in smaller.tensors.items():
        whole = checkpoint.tensors[name]
        if tensor.shape == whole.shape:
            continue
        axis = 1 if name.endswith(("out_proj.weight", "fc2.weight")) else 0
        left = {row.tobytes() for row in np.moveaxis(tensor, axis, 0).copy()}
        kept = [i for i in range(whole.shape[axis]) if whole.take(i, axis).tobytes() in left]
        assert len(kept) == tensor.shape[axis], name
        changed[name] = np.zeros_like(whole)
        if axis:
            changed[name][:, kept] = whole[:, kept]
        else:
            changed[name][kept] = whole[kept]
    assert changed
    return checkpoint.with_tensors(changed)


CASES = {
    "heads everywhere": ("heads", 0.5, ("*",)),
    "heads of one attention": ("heads", 0.3, ("decoder.layers.1.encoder_attn",)),
    "ffn everywhere": ("ffn", 0.4, ("*",)),
    "ffn of the encoder": ("ffn", 0.25, ("encoder",)),
}


@pytest.mark.parametrize(("case", "fuse"), [*((case, True) for case in CASES), ("heads everywhere", False)])
def test_what_is_left_computes_the_network_with_the_removed_parts_at_zero(case, fuse, tmp_path):
    """transformers runs the unpruned shapes with zeros: a removed head contributes nothing, a removed channel neither."""
    smaller, _ = pruned(*CASES[case])
    reference = Reference(without(CHECKPOINT, smaller))
    artifact = opened(smaller, uniform_plan(CHECKPOINT.dims, fuse=fuse), tmp_path / "a")
    encoded = reference.encode(artifact.log_mel(SAMPLES))
    assert np.abs(artifact.encode([SAMPLES], hidden=True).hidden - encoded).max() < 1e-3
    assert (
        np.abs(
            artifact.forced_logits(artifact.encode([SAMPLES]), PROMPT, TEXT) - reference.logits(encoded, PROMPT, TEXT)
        ).max()
        < 1e-3
    )
    assert artifact.transcribe(SAMPLES).tokens == reference.greedy(encoded, "en", PROMPT)


def test_the_graph_and_the_file_shrink_by_what_was_removed(tmp_path):
    smaller, note = pruned("heads", 0.5)
    assert note == "12 of 24 heads removed, 50.0%"
    for name, checkpoint in (("whole", CHECKPOINT), ("smaller", smaller)):
        opened(checkpoint, uniform_plan(CHECKPOINT.dims), tmp_path / name)
    gone = CHECKPOINT.n_parameters - smaller.n_parameters
    assert gone == 6 * (4 * 128 * 256 + 3 * 128 - 128)  # q, k, v, out of six attentions; the key has no bias
    sizes = [(tmp_path / name / "onnx" / "weights.bin").stat().st_size for name in ("whole", "smaller")]
    assert sizes[0] - sizes[1] == pytest.approx(4 * gone, rel=0.02)
    graph = onnx.load(tmp_path / "smaller" / "onnx" / "decoder.onnx", load_external_data=False).graph
    cache = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim[1:]] for v in graph.input}
    assert cache["past_key.0"] == [2, 24, 64]
    assert cache["cross_value.1"] == [2, 0, 64]  # the audio's length is open
    heads = {a.i for node in graph.node for a in node.attribute if a.name == "num_heads"}
    assert heads == {2}


@given(amount=st.floats(0, 1, exclude_min=True, exclude_max=True), granularity=st.sampled_from(["heads", "ffn"]))
@settings(max_examples=60, deadline=None)
def test_any_amount_leaves_whole_parts_and_at_least_one(amount, granularity):
    smaller, note = pruned(granularity, amount)
    assert CHECKPOINT.tensors["encoder.layers.0.fc1.weight"].shape == (320, 256)  # the input is left as it was
    for name, tensor in smaller.tensors.items():
        attention = "_attn." in name
        if not attention and ".fc" not in name:
            assert tensor is CHECKPOINT.tensors[name]
    if granularity == "heads":
        left = {t.shape[0] for n, t in smaller.tensors.items() if n.endswith("_attn.q_proj.weight")}
        assert left == {max(4 - int(4 * amount), 1) * 64}
    else:
        for side, width in (("encoder", 320), ("decoder", 192)):
            left = smaller.tensors[f"{side}.layers.0.fc1.weight"].shape[0]
            assert left % 32 == 0
            assert 32 <= left <= width
            assert width - left <= width * amount < width - left + 32 + 1  # never more than asked, nearly as much
    removed, of = (int(word) for word in note.split()[:3:2])
    parameters = sum(t.size for t in smaller.tensors.values())
    assert (parameters < CHECKPOINT.n_parameters) == (removed > 0)
    assert of == (24 if granularity == "heads" else 2 * 320 + 2 * 192)


@pytest.mark.parametrize("width", [16, 48, 100])
def test_a_width_that_is_no_multiple_never_grows(width):
    checkpoint = small_checkpoint(encoder_ffn=width, decoder_ffn=width)
    smaller, _ = pruned("ffn", 0.5, checkpoint=checkpoint)
    assert smaller.tensors["encoder.layers.0.fc1.weight"].shape[0] == {16: 16, 48: 32, 100: 64}[width]


def test_the_weakest_head_and_channels_go():
    tensors = dict(CHECKPOINT.tensors)
    for letter in "qkv":
        tensors[f"encoder.layers.0.self_attn.{letter}_proj.weight"] = tensors[
            f"encoder.layers.0.self_attn.{letter}_proj.weight"
        ].copy()
        tensors[f"encoder.layers.0.self_attn.{letter}_proj.weight"][64:128] *= 0.1
    fc1 = tensors["encoder.layers.0.fc1.weight"].copy()
    fc1[100:132] *= 0.1
    checkpoint = CHECKPOINT.with_tensors({**tensors, "encoder.layers.0.fc1.weight": fc1})
    heads, _ = pruned("heads", 0.25, ["encoder.layers.0.self_attn"], checkpoint)
    kept = np.r_[0:64, 128:256]
    for name, rows in (("v_proj.weight", 0), ("v_proj.bias", 0), ("out_proj.weight", 1)):
        whole = checkpoint.tensors[f"encoder.layers.0.self_attn.{name}"]
        assert np.array_equal(heads.tensors[f"encoder.layers.0.self_attn.{name}"], whole.take(kept, axis=rows))
    channels, _ = pruned("ffn", 0.1, ["encoder.layers.0.fc1"], checkpoint)
    assert np.array_equal(channels.tensors["encoder.layers.0.fc1.weight"], np.delete(fc1, np.s_[100:132], axis=0))


@given(amount=st.floats(0.001, 0.999), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_unstructured_pruning_zeroes_exactly_the_smallest(amount, seed):
    checkpoint = small_checkpoint(seed)
    path = "decoder.layers.0.fc2"
    smaller, note = pruned("unstructured", amount, [path], checkpoint)
    before, after = checkpoint.tensors[f"{path}.weight"], smaller.tensors[f"{path}.weight"]
    gone = after == 0
    assert gone.sum() == int(before.size * amount)
    assert np.array_equal(after[~gone], before[~gone])
    if gone.any():
        assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
    assert note.startswith(f"{gone.sum()} of {before.size} weights set to zero (no byte saved)")


def test_the_sparsity_is_in_the_ledger_and_pruning_twice_adds_up(tmp_path):
    once, _ = pruned("unstructured", 0.3, ["*.fc1"])
    emission = write_artifact(once, uniform_plan(once.dims), tmp_path / "a")
    sparsity = {row.path: row.sparsity for row in emission.modules}
    assert sparsity["encoder.layers.1.fc1"] == pytest.approx(0.3, abs=1e-4)
    assert sparsity["encoder.layers.1.fc2"] == 0
    twice, _ = pruned("heads", 0.5, checkpoint=pruned("heads", 0.5)[0])
    assert twice.tensors["decoder.layers.0.self_attn.q_proj.weight"].shape == (64, 256)
    assert twice.digest != CHECKPOINT.digest


def test_the_heads_that_follow_time_keep_their_meaning():
    """They are known by their numbers, which change where heads before them go; one that went is no longer known."""
    heads = ((0, 1), (1, 0), (1, 1), (1, 3))
    tensors = dict(CHECKPOINT.tensors)
    for letter in "qkv":
        name = f"decoder.layers.1.encoder_attn.{letter}_proj.weight"
        tensors[name] = tensors[name].copy()
        tensors[name][64:128] *= 0.1
    checkpoint = with_decoding(CHECKPOINT.with_tensors(tensors), alignment_heads=heads)
    for path, expected in (
        ("decoder.layers.1.encoder_attn", ((0, 1), (1, 0), (1, 2))),
        ("decoder.layers.1.self_attn", heads),
        ("encoder.layers.1.self_attn", heads),
    ):
        smaller, _ = pruned("heads", 0.25, [path], checkpoint)
        assert smaller.decoding.alignment_heads == expected


def test_two_of_every_four_are_zero_and_nothing_is_saved(tmp_path):
    checkpoint = small_checkpoint(1)
    smaller, note = pruned("2:4", 0.5, ["*.fc1"], checkpoint)
    path = "encoder.layers.1.fc1"
    before, after = (np.abs(one.tensors[f"{path}.weight"]).reshape(-1, 4) for one in (checkpoint, smaller))
    assert ((after == 0).sum(axis=1) == 2).all()
    assert (np.sort(after, axis=1)[:, 2:] == np.sort(before, axis=1)[:, 2:]).all(), "the larger two stay"
    assert note.startswith(
        f"{3 * before.size // 2} of {3 * before.size} weights set to zero, two of every four (no byte"
    )
    assert "no time" in note
    rows = {}
    for name, one in (("whole", checkpoint), ("smaller", smaller)):
        rows[name] = {row.path: row for row in write_artifact(one, uniform_plan(one.dims), tmp_path / name).modules}
    assert rows["smaller"][path].bytes == rows["whole"][path].bytes
    assert rows["smaller"][path].sparsity == 0.5


def test_what_scores_least_goes_whatever_its_weights_are():
    scores = made_up_importance(CHECKPOINT.dims)
    path = "decoder.layers.1"
    smaller = by_taylor(
        *(Prune(method="taylor", granularity=part, amount=0.25, targets=[path]) for part in ("ffn", "heads"))
    )
    channels = np.sort(np.argsort(-scores.of(f"{path}.fc1"))[:160])  # 144, rounded up to a multiple of 32
    assert np.array_equal(smaller.tensors[f"{path}.fc1.bias"], CHECKPOINT.tensors[f"{path}.fc1.bias"][channels])
    weakest = int(scores.of(f"{path}.encoder_attn").argmin())
    whole = CHECKPOINT.tensors[f"{path}.encoder_attn.v_proj.bias"].reshape(4, 64)
    kept = smaller.tensors[f"{path}.encoder_attn.v_proj.bias"].reshape(3, 64)
    assert np.array_equal(kept, np.delete(whole, weakest, axis=0))


def test_scores_follow_the_layers_that_stay():
    one = Prune(method="taylor", granularity="ffn", amount=0.5, targets=["decoder.layers.0"])
    smaller = by_taylor(DropLayers(decoder_keep=[1]), one)
    channels = np.sort(np.argsort(-made_up_importance(CHECKPOINT.dims).of("decoder.layers.1.fc1"))[:96])
    whole = CHECKPOINT.tensors["decoder.layers.1.fc1.bias"]
    assert np.array_equal(smaller.tensors["decoder.layers.0.fc1.bias"], whole[channels])


def test_scores_of_what_is_no_longer_there_and_no_scores_are_refused():
    one = Prune(method="taylor", granularity="ffn", amount=0.5, targets=["encoder"])
    with pytest.raises(RecipeError, match="has 160 heads or channels after pruning, importance was measured of 320"):
        by_taylor(one, one)
    with pytest.raises(RecipeError, match="prune needs to know what activations look like"):
        apply(CHECKPOINT, [one], [select(one, modules(CHECKPOINT.dims))], "cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("method: taylor, granularity: unstructured, amount: 0.5", "must be heads or ffn where the method is taylor"),
        ("method: taylor, granularity: '2:4', amount: 0.5", "must be heads or ffn where the method is taylor"),
        ("granularity: '2:4', amount: 0.4", "must be 0.5 where the granularity is 2:4"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_their_place(settings, message, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(f"version: 1\nname: x\npasses:\n  - {{pass: prune, {settings}}}\n")
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert "x.yaml:4:" in caught.value.place

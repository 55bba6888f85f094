from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe import (
    DropLayers,
    Fp16,
    Fuse,
    Int8Dynamic,
    Prune,
    Smooth,
    WeightOnly,
    select,
    select_all,
)
from fastwhisper_compress.recipe.schema import Int8CrossKv
from fastwhisper_compress.recipe.selectors import lineage, matcher, resolve

from .conftest import FakeModule, whisper_modules

MODULES = whisper_modules(3, 2)
PATHS = tuple(module.path for module in MODULES)
LINEAR = tuple(module.path for module in MODULES if module.kind == "linear")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*", 3 * 6 + 2 * 10),
        ("encoder", 3 * 6),
        ("encoder.layers", 3 * 6),
        ("encoder.layers.0", 6),
        ("*.self_attn", 3 * 4 + 2 * 4),
        ("*_attn", 3 * 4 + 2 * 8),
        ("*_attn.*", 3 * 4 + 2 * 8),
        ("encoder.layers.*.self_attn.*", 3 * 4),
        ("*.fc?", 5 * 2),
        ("*.fc[1]", 5),
        ("*.layers.[!0].fc1", 2 + 1),
        (r"re:.*\.(q|k)_proj", (3 + 2 * 2) * 2),
        (r"re:encoder\.layers\.[01]", 2 * 6),
    ],
)
def test_patterns(pattern, count):
    assert len(select(Prune(granularity="unstructured", amount=0.5, targets=[pattern]), MODULES)) == count


def test_layer_1_is_not_layer_10():
    deep = whisper_modules(11, 1)
    assert all(path.startswith("encoder.layers.1.") for path in select(Int8Dynamic(targets=["encoder.layers.1"]), deep))


def test_case_and_dots_are_literal():
    for pattern in ("Encoder", "encoder.layers.0.fc1."):
        with pytest.raises(RecipeError, match="matches no module"):
            select(Int8Dynamic(targets=[pattern]), MODULES)


def test_ignore_is_taken_from_targets():
    mixed = select(Int8Dynamic(ignore=["*_attn", "decoder.embed_tokens"]), MODULES)
    assert mixed == tuple(path for path in LINEAR if path.endswith((".fc1", ".fc2")))


@pytest.mark.parametrize(
    ("pass_", "kinds"),
    [
        (Fp16(), {"linear", "embedding", "conv", "positions"}),
        (Int8Dynamic(), {"linear", "embedding"}),
        (WeightOnly(bits=8), {"linear", "embedding"}),
        (Prune(granularity="unstructured", amount=0.5), {"linear"}),
        (Prune(granularity="heads", amount=0.5), {"attention"}),
        (Prune(granularity="ffn", amount=0.5), {"linear"}),
        (Fuse(), {"linear", "embedding", "conv", "attention", "layer_norm"}),
        (Smooth(), {"layer_norm", "attention"}),
        (Int8CrossKv(), {"attention"}),
    ],
)
def test_passes_skip_what_they_cannot_act_on(pass_, kinds):
    chosen = set(select(pass_, MODULES))
    assert {module.kind for module in MODULES if module.path in chosen} == kinds


def test_channels_are_removed_at_the_first_feed_forward_layer():
    paths = select(Prune(granularity="ffn", amount=0.5), MODULES)
    assert len(paths) == 5
    assert all(path.endswith(".fc1") for path in paths)


def test_the_last_layer_norm_is_not_smoothed_since_the_tied_embedding_reads_it():
    norms = {module.path for module in MODULES if module.kind == "layer_norm"}
    assert norms - set(select(Smooth(), MODULES)) == {"decoder.layer_norm"}


def test_only_attentions_to_audio_keep_its_keys_and_values_in_8_bits():
    assert select(Int8CrossKv(), MODULES) == ("decoder.layers.0.encoder_attn", "decoder.layers.1.encoder_attn")


def test_several_passes_select_by_the_numbers_that_the_layers_then_have():
    first, drop = Int8Dynamic(targets=["encoder.layers.2"]), DropLayers(encoder_keep=[2])
    after = Fp16(targets=["encoder.layers.0"])
    found = select_all([first, drop, after], MODULES)
    assert found == [select(one, MODULES) for one in (first, drop)] + [
        tuple(path.replace("layers.2", "layers.0") for path in found[0])
    ]
    assert {path[:16] for path in found[1]} == {"encoder.layers.0", "encoder.layers.1"}
    with pytest.raises(RecipeError, match="matches no module"):
        select_all([drop, first], MODULES)


@pytest.mark.parametrize(
    ("pass_", "message", "remedy"),
    [
        (
            Int8Dynamic(targets=["encoder.layers.*.self_atn.*"]),
            "matches no module",
            "did you mean 'encoder.layers.*.self_attn",
        ),
        (Int8Dynamic(targets=["encoder.layers.0.fc3"]), "matches no module", "did you mean 'encoder.layers.0.fc"),
        (Int8Dynamic(targets=["encodr"]), "matches no module", "did you mean 'encoder'?"),
        (Int8Dynamic(targets=["*.self_atn"]), "matches no module", "did you mean '*.self_attn'?"),
        (Int8Dynamic(targets=["re:.*self_atn"]), "matches no module", "did you mean '*.self_attn'?"),
        (Int8Dynamic(targets=["encoder.layers.3"]), "matches no module", "did you mean 'encoder.layers.2'?"),
        (Int8Dynamic(targets=["zzz"]), "matches no module", "valid paths look like 'decoder.embed_tokens'"),
        (Int8Dynamic(targets=["*.q"]), "matches no module", "valid paths look like 'decoder.embed_tokens'"),
        (Int8Dynamic(targets=[r"re:\w+\.fc"]), "matches no module", "did you mean '*.fc"),
        (Int8Dynamic(ignore=["*.encoder_atn"]), "matches no module", "did you mean '*.encoder_attn'?"),
        (Int8Dynamic(targets=["encoder.conv*"]), "cannot act on (conv, such as encoder.conv1)", ""),
        (Int8Dynamic(ignore=["*_layer_norm"]), "cannot act on (layer_norm,", ""),
        (WeightOnly(bits=8, targets=["encoder.[ce]*"]), "cannot act on (conv, positions, such as encoder.conv1)", ""),
        (Prune(granularity="ffn", amount=0.5, targets=["*.fc2"]), "cannot act on (linear,", "did you mean '*.fc1'?"),
        (Prune(granularity="heads", amount=0.5, targets=["*.q_proj"]), "cannot act on (linear,", "self_attn"),
        (Fuse(targets=["*.embed_positions"]), "cannot act on (positions,", ""),
        (Int8Dynamic(targets=["*.fc1"], ignore=["*"]), "has nothing to act on", "narrow the ignore list"),
    ],
)
def test_patterns_without_effect_are_refused(pass_, message, remedy):
    with pytest.raises(RecipeError) as caught:
        select(pass_, MODULES)
    assert message in caught.value.message
    assert remedy in str(caught.value.remedy)
    assert caught.value.place == f"{pass_.pass_}.{'ignore' if pass_.ignore else 'targets'}.0"


def test_a_model_without_any_suitable_module():
    with pytest.raises(RecipeError, match="no module that the pass could act on"):
        select(Int8Dynamic(), [FakeModule("encoder.conv1", "conv")])


# A path with some of its letters replaced by wildcards: a glob that must match it.
@st.composite
def paths_and_globs(draw):
    path = draw(st.sampled_from(PATHS))
    wild = "".join(draw(st.sampled_from([letter, letter, letter, "?", "*"])) for letter in path)
    return path, wild


@given(paths_and_globs())
def test_a_glob_selects_the_path_that_it_was_made_from(pair):
    path, wild = pair
    assert matcher(wild)(path)


@given(paths_and_globs(), st.sampled_from(PATHS))
def test_what_lies_below_a_selected_path_is_selected(pair, other):
    matches = matcher(pair[1])
    assert matches(other) == any(matches(part) for part in lineage(other))


@given(st.lists(st.sampled_from(PATHS), min_size=1), st.lists(st.sampled_from(PATHS)))
def test_selection_is_targets_minus_ignore_in_the_order_of_the_model(targets, ignore):
    pass_ = Fp16(targets=targets, ignore=ignore)
    below = lambda path, patterns: any(part in patterns for part in lineage(path))  # noqa: E731
    expected = [
        m.path for m in MODULES if m.kind in pass_.kinds and below(m.path, targets) and not below(m.path, ignore)
    ]
    try:
        assert list(select(pass_, MODULES)) == expected
    except RecipeError as error:
        message = error.message
        assert "cannot act on" in message or (not expected and "nothing to act on" in message)


@given(st.lists(st.sampled_from(["encoder", "decoder", "*_attn", "*.fc1", "*.layers.0"]), min_size=1))
def test_more_targets_never_select_less(targets):
    few, many = select(Int8Dynamic(targets=targets[:1]), MODULES), select(Int8Dynamic(targets=targets), MODULES)
    assert set(few) <= set(many)


@given(st.text(min_size=1, max_size=30).filter(lambda text: not text.startswith("re:")))
def test_no_glob_breaks_the_matcher(pattern):
    assert matcher(pattern)("encoder.conv1") in (True, False)


@given(st.sampled_from(PATHS))
def test_regular_expressions_match_as_a_whole(path):
    assert matcher("re:" + re.escape(path))(path)
    assert not matcher("re:" + re.escape(path[:-1]))(path)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("(?R)", "takes too long"),
        ("(a|.)*(.|b)*(.)*X?Y", "matches no module"),  # would take forever elsewhere, not here
    ],
)
def test_an_expression_that_takes_forever_is_refused_soon(modules, expression, message):
    start = time.process_time()
    paths, problems = resolve(Fp16(targets=["encoder.conv*", f"re:{expression}"]), modules, lambda *at: f"{at}")
    assert time.process_time() - start < 1
    assert message in problems[0].message
    assert repr(f"re:{expression}") in problems[0].message
    assert problems[0].place == "('targets', 1)"
    assert set(paths) <= {"encoder.conv1", "encoder.conv2"}


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(", "missing )"),
        ("a{9999999999}", "more than 10000 times"),
        ("(a{1000}){11}", "more than 10000 times"),
        ("a{3,20000}", "more than 10000 times"),
        ("a{0}a{20000}", "more than 10000 times"),
        ("(" * 125 + ")" * 125, None),
        ("(" * 5_000 + ")" * 5_000, "nested too deeply"),
    ],
)
def test_an_expression_that_costs_too_much_to_prepare_is_refused(expression, why):
    try:
        matcher(f"re:{expression}")
    except ValueError as error:
        assert (why or "nested too deeply") in str(error)  # noqa: PT017 - some interpreters nest deeper
    else:
        assert why is None


def test_counts_that_are_multiplied_may_reach_the_limit():
    assert matcher("re:(a{10}){1000}")("a" * 10_000)
    assert not matcher("re:(a{10}){1000}")("a" * 9_999)
    assert matcher("re:" + "a{1}" * 20)("a" * 20)  # what is there once is no repetition

from __future__ import annotations

import pytest
from report_builders import module_rows

from fastwhisper_compress.report.groups import group_of, group_rows
from fastwhisper_compress.report.model import ModuleInfo


def modules(recipe):
    return [ModuleInfo.model_validate(one) for one in module_rows(recipe)]


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("encoder.layers.11.self_attn.q_proj", "Encoder attention"),
        ("encoder.layers.0.self_attn_layer_norm", "Norms"),
        ("encoder.layers.0.fc2", "Encoder MLP"),
        ("decoder.layers.3.self_attn.out_proj", "Decoder self-attention"),
        ("decoder.layers.3.encoder_attn.k_proj", "Decoder cross-attention"),
        ("decoder.layers.3.encoder_attn_layer_norm", "Norms"),
        ("decoder.layers.3.fc1", "Decoder MLP"),
        ("decoder.layer_norm", "Norms"),
        ("decoder.embed_tokens", "Token embedding"),
        ("encoder.conv2", "Convolutions"),
        ("encoder.embed_positions", "Positions"),
        ("log_mel", "Other"),
    ],
)
def test_every_module_has_its_group(path, group):
    assert group_of(path) == group


def test_no_byte_and_no_module_gets_lost():
    before, after = modules("fp32"), modules("int8_attn_fp16")
    rows = group_rows(before, after)
    assert sum(one.bytes for one in rows) == sum(one.bytes for one in after)
    assert sum(one.baseline_bytes for one in rows) == sum(one.bytes for one in before)
    assert sum(one.n_modules for one in rows) == sum(one.parameters > 0 for one in after)
    assert "Other" not in {one.group for one in rows}


def test_one_group_kept_in_two_ways_is_two_rows():
    after = [
        one.model_copy(update={"storage": "fp32", "compute": "fp32", "bytes": 4 * one.parameters})
        if ".2.fc1" in one.path
        else one
        for one in modules("int8_attn_fp16")
    ]
    rows = [one for one in group_rows(modules("fp32"), after) if one.group == "Decoder MLP"]
    assert [(one.storage, one.n_modules, one.status) for one in rows] == [
        ("int8", 7, "compressed"),
        ("fp32", 1, "kept"),
    ]


def test_sparsity_is_weighted_by_parameters():
    base = modules("fp32")
    after = [one.model_copy(update={"sparsity": 0.5}) if one.path == "encoder.layers.0.fc1" else one for one in base]
    (mlp,) = [one for one in group_rows(base, after) if one.group == "Encoder MLP"]
    assert mlp.sparsity == pytest.approx(0.5 / 8)
    assert mlp.status == "pruned to zeros"


def test_a_module_unknown_to_the_baseline_has_no_bytes_before():
    rows = group_rows([], modules("fp32"))
    assert {one.baseline_bytes for one in rows} == {None}


def test_two_factors_are_one_module_beside_what_it_was():
    base = modules("fp32")
    after = []
    for one in base:
        halves = [one]
        if one.path == "encoder.layers.0.fc1":
            size = {"bytes": one.bytes // 4, "parameters": one.parameters // 4}
            halves = [one.model_copy(update={"path": f"{one.path}.low_rank.{i}", **size}) for i in (0, 1)]
        after += halves
    (mlp,) = [one for one in group_rows(base, after) if one.group == "Encoder MLP"]
    assert (mlp.n_modules, mlp.status) == (8, "compressed")
    assert mlp.baseline_bytes - mlp.bytes == next(one.bytes for one in base if one.path == "encoder.layers.0.fc1") // 2

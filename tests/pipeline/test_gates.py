"""The least quality that is published: read from a file, and chosen by the lowest precision."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fastwhisper_compress.pipeline.gates import load_gates

TEXT = """
parity_set: {suite: demo, clips: [a, b]}
token_agreement: {fp32: 0.999, int8: 0.9, int4: 0.8}
fp32_error: {logits: 1.0e-3}
"""


@pytest.fixture
def gates(tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text(TEXT)
    return load_gates(path)


def test_gates_are_read(gates):
    assert (gates.suite, gates.clips) == ("demo", ("a", "b"))
    assert gates.agreement == {"fp32": 0.999, "int8": 0.9, "int4": 0.8}
    assert gates.fp32_error == {"logits": 0.001}


@pytest.mark.parametrize(
    ("storage", "least"), [([], 0.999), (["fp32"], 0.999), (["fp32", "int8"], 0.9), (["int4", "int8"], 0.8)]
)
def test_the_lowest_precision_decides(gates, storage, least):
    precision = {f"encoder.layers.{i}": SimpleNamespace(storage=one) for i, one in enumerate(storage)}
    assert gates.token_agreement(precision) == least


def test_the_shipped_gates_name_clips_of_the_suite_and_every_storage_type():
    from fastwhisper_compress.evaluation.suite import load_suite

    gates = load_gates()
    assert {*gates.clips} <= {one.id for one in load_suite(gates.suite).utterances}
    assert gates.agreement.keys() == {"fp32", "fp16", "int8", "int4"}
    assert gates.fp32_error.keys() == {"log_mel", "encoder", "logits"}

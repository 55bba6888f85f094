"""The kernel measurement on one kind of layer of a small Whisper: what is timed is what ships."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
from small_whisper import small_checkpoint

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_kernels
from kernel_bench.layers import CONTRAST, KINDS, LOGITS, SHIPPING, fits, operators, weight_bytes, write_layers
from kernel_bench.processes import _FIGURES, Probe, _compared
from kernel_bench.summary import _times

BY_NAME = {kernel.name: kernel for kernel in (*SHIPPING, *CONTRAST)}
OPERATORS = {"fp32": "MatMul", "int8_dynamic": "DynamicQuantizeMatMul", "nbits8/32": "MatMulNBits"}

APART = {"encoder q/k/v": 3, "cross k/v": 2, "decoder out_proj": 2}  # products a layer


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint(encoder_layers=2, decoder_layers=3)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("kernel", OPERATORS)
def test_a_graph_holds_every_layer_of_the_kind_in_the_kernel_that_ships(checkpoint, tmp_path, kind, kernel):
    found = operators(write_layers(checkpoint, kind, BY_NAME[kernel], tmp_path / "a"))
    n = {"encoder": 2, "decoder": 3, "": 1}[kind.layers] * APART.get(kind.name, 1)
    operator = "Gemm" if kind is LOGITS and kernel == "fp32" else OPERATORS[kernel]
    assert found.pop(operator) == n
    assert found.get("Split", 0) == (n if kind.attention else 0)


def test_only_the_accuracy_level_differs_in_the_contrast(checkpoint, tmp_path):
    levels = []
    for name in ("nbits8/128", "nbits8/128 level 1"):
        model = onnx.load(write_layers(checkpoint, KINDS[2], BY_NAME[name], tmp_path / name[-1]))
        levels += [a.i for node in model.graph.node for a in node.attribute if a.name == "accuracy_level"]
    assert levels == [4, 4, 1, 1]


def test_a_block_that_does_not_divide_the_inputs_is_left_out(checkpoint):
    assert fits(checkpoint, KINDS[2], BY_NAME["nbits8/128"])
    assert not fits(checkpoint, KINDS[2], BY_NAME["nbits8/256"])


def test_one_kind_is_timed_in_every_kernel_at_every_number_of_rows(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_kernels, "SHIPPING", [BY_NAME[name] for name in OPERATORS])
    monkeypatch.setattr(Probe, "memory", lambda *_, **__: {})
    kind = next(kind for kind in KINDS if kind.name == "decoder fc1")
    entry = bench_kernels.measure_kind(checkpoint, kind, Probe(tmp_path, 2), quick=True)
    assert [row["rows"] for row in entry["rows"]] == [1, 2, 4, 8, 16]
    for row in entry["rows"]:
        assert row["kernels"].keys() >= OPERATORS.keys()
        assert all(0 < found["lower_ms"] <= found["median_ms"] for found in row["kernels"].values())
    assert list(tmp_path.iterdir()) == []


def test_memory_of_a_fresh_process_counts_the_weights(checkpoint, tmp_path):
    wide = small_checkpoint(encoder_ffn=16_384)
    graph = write_layers(wide, KINDS[2], BY_NAME["fp32"], tmp_path / "a")
    size = weight_bytes(graph)
    assert size == 2 * (128 + 1) * 16_384 * 4
    found = Probe(tmp_path, 1).memory(graph)
    held = found["loaded_anonymous_bytes"] + found["loaded_mapped_bytes"]
    assert 0.9 * size < held < 2.2 * size


def test_the_fastest_kernel_is_bold_and_a_missing_one_is_not_zero():
    row = {"fp32": {"median_ms": 2.0}, "nbits8/32": {"median_ms": 1.0}}
    assert _times([("fc1", 4, row)], ["fp32", "nbits8/32", "nbits8/256"])[-1] == "| fc1 | 4 | 2.000 | **1.000** | - |"


def test_settings_are_compared_within_a_round():
    def report(load_s):
        return dict.fromkeys((*_FIGURES, "other_cores"), 1.0) | {"load_s": load_s}

    # The machine is three times as slow in the second round.
    found = _compared([report(2.0), report(6.0)], [report(1.0), report(3.0)])
    assert (found["load_s_ratio"], found["load_s_ratio_range"]) == (2.0, [2.0, 2.0])

"""Sessions run on the provider that was asked for, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastwhisper_compress.errors import BackendError, ProviderError
from fastwhisper_compress.runtime import processor
from fastwhisper_compress.runtime import session as module
from fastwhisper_compress.runtime.session import _refuse_strays, open_session


def assigned(*subgraphs):
    """What ONNX Runtime tells about a session: (provider, operators)."""
    info = [
        SimpleNamespace(
            ep_name=name,
            get_nodes=lambda ops=ops: [
                SimpleNamespace(op_type=op, name=f"decoder.{op}.{i}") for i, op in enumerate(ops)
            ],
        )
        for name, ops in subgraphs
    ]
    return SimpleNamespace(get_provider_graph_assignment_info=lambda: info)


def test_plumbing_may_stay_on_the_cpu():
    session = assigned(
        ("CUDAExecutionProvider", ["MatMul", "MultiHeadAttention", "Softmax"]),
        ("CPUExecutionProvider", ["Shape", "Concat", "Slice", "Range", "Cast"]),
    )
    _refuse_strays(session, Path("decoder.onnx"), "cuda")


@pytest.mark.parametrize(
    "op",
    ["MatMul", "MultiHeadAttention", "MatMulNBits", "DynamicQuantizeMatMul", "Gelu", "LayerNormalization", "Gather"],
)
def test_a_computing_node_on_the_cpu_is_named(op):
    session = assigned(("CUDAExecutionProvider", ["MatMul"]), ("CPUExecutionProvider", ["Shape", op]))
    with pytest.raises(ProviderError, match=f"{op} runs on CPUExecutionProvider, not on CUDA") as caught:
        _refuse_strays(session, Path("onnx/decoder.onnx"), "cuda")
    assert caught.value.exit_code == 4
    assert caught.value.place == f"decoder.onnx:decoder.{op}.1"


def test_two_runtimes_in_one_environment_are_refused(monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda name: True)
    with pytest.raises(BackendError, match="onnxruntime and onnxruntime-gpu") as caught:
        module.import_onnxruntime()
    assert "uninstall" in caught.value.remedy


def test_no_runtime_at_all_names_the_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="not installed") as caught:
        module.import_onnxruntime()
    assert "[cpu]" in caught.value.remedy


def test_graphs_open_with_and_without_optimisation(english_folder):
    for optimise in (True, False):
        session = open_session(english_folder / "onnx" / "decoder.onnx", "cpu", 1, optimise=optimise)
        assert session.get_providers() == ["CPUExecutionProvider"]
        assert session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("flags : avx2 avx_vnni\nflags : avx2 avx_vnni\n", True),
        ("flags : avx2 avx512f amx_tile amx_int8\n", False),
        ("flags : fpu avx2 avx512f\nbugs : avx512_vnni\n", False),
        ("Features : fp asimd asimddp\n", False),
        (None, False),
    ],
)
def test_the_slow_way_of_8_bit_products_is_taken_where_the_fast_one_is_not_known_to_be_exact(
    monkeypatch, tmp_path, text, known
):
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", cpuinfo)
    processor.has_dot_products.cache_clear()
    asked = {}
    monkeypatch.setattr(
        ort.SessionOptions, "add_session_config_entry", lambda _, name, value: asked.__setitem__(name, value)
    )
    module._options(1, lean=True, prepack=True, streamed=None)
    processor.has_dot_products.cache_clear()
    assert asked.get("session.x64quantprecision") == (None if known else "1")


@pytest.mark.parametrize("rows", [1, 8])
def test_8_bit_products_do_not_overflow(tmp_path, rows):
    """In the worst case there is: the largest activations and weights."""
    weights = numpy_helper.from_array(np.full((64, 32), 127, np.int8), "w")
    scale = numpy_helper.from_array(np.ones(32, np.float32), "s")
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeMatMul", ["x", "w", "s"], ["y"], domain="com.microsoft")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 32])],
        [weights, scale],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "product.onnx")
    found = open_session(tmp_path / "product.onnx", "cpu", 1).run(None, {"x": np.full((rows, 64), 255, np.float32)})[0]
    assert (found == 255 * 127 * 64).all()


def test_graphs_run_on_a_cpu_as_they_are_written(monkeypatch, tmp_path):
    """ONNX Runtime ignores names of optimisers that it does not know: what they would do is looked for."""
    widths = {"x": [1, 6, 4, 8], "weight": [8], "bias": [8], "axis": [1]}
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x2"], ["sum"]),
            helper.make_node("LayerNormalization", ["sum", "weight", "bias"], ["normed"]),
            helper.make_node("Reshape", ["normed", "split"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["heads"], perm=[0, 2, 1, 3]),
            helper.make_node("ReduceMax", ["heads", "axis"], ["most"]),
        ],
        "written",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 24, 8]) for name in ("x", "x2")],
        [helper.make_tensor_value_info("most", TensorProto.FLOAT, [1, 4, 1, 8])],
        [
            *(numpy_helper.from_array(np.ones(widths[name], np.float32), name) for name in ("weight", "bias")),
            numpy_helper.from_array(np.array([1, 6, 4, 8]), "split"),
            numpy_helper.from_array(np.array([2]), "axis"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "written.onnx"
    )

    def operators():
        saved = tmp_path / "saved.onnx"
        options = module._options

        def saving(*arguments, **named):
            made = options(*arguments, **named)
            made.optimized_model_filepath = str(saved)
            return made

        with monkeypatch.context() as patched:
            patched.setattr(module, "_options", saving)
            open_session(tmp_path / "written.onnx", "cpu", 1)
        return [node.op_type for node in onnx.load(saved).graph.node]

    assert operators() == ["Add", "LayerNormalization", "Reshape", "Transpose", "ReduceMax"]
    monkeypatch.setattr(module, "SLOWER", [])
    assert operators() == ["SkipLayerNormalization", "Reshape", "ReduceMax", "Transpose"], "which is what it would do"


TRANSCRIBE = """
import json, sys
import numpy as np
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.audio import read_audio
found = load_artifact(sys.argv[1], threads=1).transcribe(read_audio(sys.argv[2])[:16000])
assert found.tokens
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def test_a_process_that_transcribes_loads_no_framework(english_folder, repository, tmp_path):
    """The memory of a runtime process is the artifact's, not torch's: nothing below may be imported even indirectly."""
    audio = next((repository / "eval" / "demo").glob("*.opus"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRANSCRIBE, str(english_folder), str(audio)],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert {"onnxruntime", "numpy"} <= loaded
    heavy = {"torch", "transformers", "onnx", "whisper", "scipy", "pydantic", "tokenizers", "huggingface_hub"}
    heavy |= {"soundfile", "soxr", "av"}  # which the process that decodes has
    assert not loaded & heavy

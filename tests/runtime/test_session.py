"""Sessions run on the provider that was asked for, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastwhisper_compress.errors import BackendError, ProviderError
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

"""The encoder on OpenVINO: the same graph, within the error of its own arithmetic, and no fallback."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_whisper import small_checkpoint, speech_like, sqnr_db, uniform_plan, write_artifact

from fastwhisper_compress.emit.precision import Precision
from fastwhisper_compress.errors import BackendError, ProviderError, UnsafeInputError, UsageError
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.encoder import OnnxRuntimeEncoder
from fastwhisper_compress.runtime.openvino_encoder import OpenVinoEncoder, import_openvino
from fastwhisper_compress.runtime.session import open_session


@pytest.fixture(scope="module")
def openvino():
    try:
        return import_openvino()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "precision",
    [
        Precision(),
        Precision("fp16"),
        Precision("int8_dynamic"),
        Precision("weight_only", bits=8, group_size=32),
        Precision("weight_only", bits=4, group_size=32),
        Precision("weight_only", bits=4, group_size=32, symmetric=False),
        Precision("int8_dynamic", split_outliers=True),
    ],
    ids=str,
)
def test_it_reads_every_precision_with_its_fused_operators(openvino, tmp_path, precision):
    checkpoint = small_checkpoint(11)
    write_artifact(checkpoint, uniform_plan(checkpoint.dims, precision), tmp_path / "a")
    ours = load_artifact(tmp_path / "a", threads=2)
    theirs = load_artifact(tmp_path / "a", threads=2, backend="openvino")
    expected = ours.encode([speech_like(0.8)], hidden=True).hidden
    found = theirs.encode([speech_like(0.8)], hidden=True).hidden
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert sqnr_db(expected, found) > 20  # BF16 keeps 8 bits of a number


def test_the_decoder_reads_what_it_encoded(openvino, english_folder, english):
    model = load_artifact(english_folder, threads=2, backend="openvino")
    clips = [speech_like(0.4, 1), speech_like(0.9, 2)]
    logits = []
    for clip in clips:
        prompt = (english.manifest.decoding.sot, english.manifest.decoding.no_timestamps)
        reference = english.forced_logits(english.encode([clip]), prompt, (5, 6))
        logits.append(model.forced_logits(model.encode([clip]), prompt, (5, 6)))
        assert sqnr_db(reference, logits[-1]) > 20
    assert not np.array_equal(*logits)


@pytest.mark.parametrize("frames", [100, 64, 2])
def test_outputs_are_named_and_shaped_as_onnx_runtime_says(openvino, english, frames):
    graph = english.manifest.graphs["encoder"]
    encoder, reference = (
        OpenVinoEncoder(graph, "cpu", threads=1),
        OnnxRuntimeEncoder(open_session(graph, "cpu", 1), "cpu"),
    )
    assert encoder.outputs == reference.outputs
    mel = english.log_mel(speech_like(0.8))[:, :, :frames]
    both = np.concatenate([mel, mel])
    found, expected = encoder.run(both, encoder.outputs), reference.run(both, encoder.outputs)
    encoder.run(np.zeros_like(mel), encoder.outputs)  # overwrites nothing of what was found before
    for name in encoder.outputs:
        assert found[name].shape() == expected[name].shape()
        np.testing.assert_array_equal(found[name].numpy()[0], found[name].numpy()[1])
        assert sqnr_db(expected[name].numpy(), found[name].numpy()) > 20


def test_an_operator_it_does_not_know_is_named(openvino, tmp_path):
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    node = helper.make_node("Sharpen", ["x"], ["y"], domain="com.microsoft")
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "encoder", sides[:1], sides[1:])
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "encoder.onnx")
    with pytest.raises(ProviderError, match=r"com\.microsoft\.Sharpen") as caught:
        OpenVinoEncoder(tmp_path / "encoder.onnx", "cpu")
    assert caught.value.exit_code == 4
    assert "fuse" in caught.value.remedy


@pytest.mark.parametrize("damage", ["cut graph", "cut weights", "no weights"])
def test_a_damaged_graph_is_refused(openvino, english, tmp_path, damage):
    graph = english.manifest.graphs["encoder"]
    shutil.copytree(graph.parent, tmp_path / "onnx")
    broken = tmp_path / "onnx" / graph.name
    weights = tmp_path / "onnx" / "weights.bin"
    if damage == "no weights":
        weights.unlink()
    else:
        victim = broken if damage == "cut graph" else weights
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 3])
    with pytest.raises(UnsafeInputError, match="does not load") as caught:
        OpenVinoEncoder(broken, "cpu")
    assert caught.value.place == str(broken)


def test_weights_outside_the_artifact_are_refused(openvino, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../secret.bin")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "encoder", sides[:1], sides[1:], [weight])
    (tmp_path / "onnx").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (tmp_path / "onnx" / "encoder.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeInputError, match="outside"):
        OpenVinoEncoder(tmp_path / "onnx" / "encoder.onnx", "cpu")


def test_graphs_for_cuda_are_refused(english):
    with pytest.raises(ProviderError, match="not for cuda") as caught:
        OpenVinoEncoder(english.manifest.graphs["encoder"], "cuda")
    assert caught.value.place == "--backend openvino"


def test_without_openvino_the_extra_is_named(english_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="not installed") as caught:
        load_artifact(english_folder, backend="openvino")
    assert "fastwhisper-compress[openvino]" in caught.value.remedy
    assert caught.value.exit_code == 4


def test_an_unknown_backend_is_refused(english_folder):
    with pytest.raises(UsageError, match="unknown backend 'tensorrt'"):
        load_artifact(english_folder, backend="tensorrt")


def test_importing_it_reports_nothing(openvino, tmp_path):
    code = (
        "import sys; from fastwhisper_compress.runtime.openvino_encoder import import_openvino; import_openvino();"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.iterdir())


def test_onnx_runtime_alone_never_imports_openvino(english_folder):
    code = (
        "import sys; from fastwhisper_compress.runtime import load_artifact; load_artifact(sys.argv[1], threads=1);"
        "print('openvino' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(english_folder)]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

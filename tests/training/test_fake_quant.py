"""What training pretends is what is emitted: the same integers, and outputs that differ by no more than float noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from schooling import TEACHER, lessons, losses, train
from small_whisper import SCHEMES, opened, small_checkpoint, speech_like, uniform_plan

from fastwhisper_compress.emit.precision import INT8_DYNAMIC, Plan, Precision
from fastwhisper_compress.emit.quantize import blockwise, per_channel_int8
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.recipe import Qat
from fastwhisper_compress.training.fake_quant import blocks_of, channels_int8, fakes_of
from fastwhisper_compress.training.network import Network

PROMPT, TEXT = (257, 270), tuple(b"Ten words.")
SAMPLES = speech_like(0.9, 5)


def weights(seed):
    """Some random, some all zero, some tiny or huge, and some with two values of the same size and other sign."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((48, 128)).astype(np.float32) * rng.choice([1e-7, 0.03, 1.0, 900.0], (48, 1))
    found[3] = 0
    found[4, 32:64] = 0
    found[5, 1], found[5, 9] = -7.0, 7.0
    found[6, 1], found[6, 9] = 7.0, -7.0
    return found.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("bits", "group", "symmetric"), [(4, 32, True), (4, 16, False), (8, 64, True), (8, 128, False)]
)
def test_blocks_are_those_of_the_emitter(seed, bits, group, symmetric):
    weight = weights(seed)
    blocks = blockwise(weight, bits, group, symmetric=symmetric)
    centred = blocks.values.astype(np.float32) - np.repeat(blocks.zero, group, axis=1)
    stored = centred * np.repeat(blocks.scale.astype(np.float32), group, axis=1)
    np.testing.assert_array_equal(blocks_of(torch.from_numpy(weight), bits, group, symmetric=symmetric), stored)


@pytest.mark.parametrize("seed", range(3))
def test_channels_are_those_of_the_emitter(seed):
    weight = weights(seed)
    values, scale = per_channel_int8(weight)
    np.testing.assert_array_equal(channels_int8(torch.from_numpy(weight)), values.astype(np.float32) * scale[:, None])


def kernel(precision, x, weight):
    """Run ONNX Runtime's own kernel over one input, (rows, in), all rows at once."""
    if precision.scheme == "int8_dynamic":
        values, scale = per_channel_int8(weight)
        node = helper.make_node("DynamicQuantizeMatMul", ["x", "w", "s"], ["y"], domain="com.microsoft")
        tensors = {"w": np.ascontiguousarray(values.T), "s": scale}
    else:
        group = precision.group_size
        blocks = blockwise(weight, precision.bits, group, symmetric=precision.symmetric)
        tensors = {
            "w": blocks.packed().reshape(len(weight), weight.shape[1] // group, -1),
            "s": blocks.scale.astype(np.float32),
        }
        if not precision.symmetric:
            tensors["z"] = blocks.packed_zero()
        shape = {"K": weight.shape[1], "N": len(weight), "bits": precision.bits, "block_size": group}
        node = helper.make_node(
            "MatMulNBits", ["x", *tensors], ["y"], domain="com.microsoft", accuracy_level=4, **shape
        )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(x), len(weight)])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # so that no product overflows
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name.startswith("int")])
def test_a_pretended_linear_is_the_kernel(scheme):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 128), dtype=np.float32)
    x = rng.standard_normal((24, 128), dtype=np.float32) * np.float32(3)
    x[:, 5] += 9
    path = "encoder.layers.0.fc1"
    fake = fakes_of(TEACHER, Plan({path: SCHEMES[scheme]}, frozenset([path])))[path]
    found = torch.nn.functional.linear(fake.input(torch.from_numpy(x[None])), fake.weight(torch.from_numpy(weight)))[0]
    expected = kernel(SCHEMES[scheme], x, weight)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    assert np.abs(expected - x @ weight.T).max() > 1e-2, "which is not what unrounded numbers give"


def test_a_decoder_rounds_one_token_at_a_time():
    x, path = torch.tensor([[[1.0, 0.303], [100.0, 0.303]]]), "decoder.layers.0.fc1"
    fake = fakes_of(TEACHER, uniform_plan(TEACHER.dims, INT8_DYNAMIC))[path]
    assert abs(fake.input(x)[0, 0, 1] - 0.303) < 0.01 < abs(fake.input(x)[0, 1, 1] - 0.303)
    whole = fakes_of(TEACHER, uniform_plan(TEACHER.dims, INT8_DYNAMIC))["decoder.layers.0.encoder_attn.k_proj"]
    assert abs(whole.input(x)[0, 0, 1] - 0.303) > 0.01


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_pretended_network_is_the_emitted_one(tmp_path, scheme):
    checkpoint = small_checkpoint(7, encoder_layers=1)
    plan = uniform_plan(checkpoint.dims, SCHEMES[scheme])
    artifact = opened(checkpoint, plan, tmp_path / "artifact")
    expected = artifact.forced_logits(artifact.encode([SAMPLES]), PROMPT, TEXT)
    mel = torch.from_numpy(artifact._encoding.windows([SAMPLES], artifact._encoding.most_frames))

    def logits(fakes):
        network = Network(checkpoint)
        network.fake_quantise(fakes)
        with torch.no_grad():
            return network.decode(torch.tensor([[*PROMPT, *TEXT]]), network.encode(mel))[0, len(PROMPT) - 1 :].numpy()

    found, plain = (np.abs(logits(fakes) - expected).mean() for fakes in (fakes_of(checkpoint, plan), {}))
    # Float noise turns some numbers over to the next integer, which is most where only activations are coarse.
    assert found < (0.2 if "int4" in scheme else 0.7) * plain or found < 1e-4


def test_training_sees_what_will_be_written(tmp_path):
    plan = uniform_plan(TEACHER.dims, Precision("weight_only", 4, 32, True))
    settings = Qat(steps=6, batch_size=4, learning_rate=3e-4, warmup_steps=2, clip_norm=100.0)
    found, log = train(settings, lessons(tmp_path), tmp_path / "qat", student=TEACHER, plan=plan)
    assert losses(log)[-1] < losses(log)[0]
    fakes = fakes_of(found, plan)
    for path, precision in plan.precision.items():
        weight = found.tensors[f"{path}.weight"]
        blocks = blockwise(weight, precision.bits, precision.group_size, symmetric=precision.symmetric)
        centred = blocks.values.astype(np.float32) - np.repeat(blocks.zero, precision.group_size, axis=1)
        stored = centred * np.repeat(blocks.scale.astype(np.float32), precision.group_size, axis=1)
        np.testing.assert_array_equal(fakes[path].weight(torch.from_numpy(weight)), stored)
    changed = [name for name, values in found.tensors.items() if not np.array_equal(values, TEACHER.tensors[name])]
    assert len(changed) > 0.9 * len(found.tensors), "gradients pass through the rounding"


@pytest.mark.parametrize("changes", [{"method": "gptq"}, {"scheme": "int8_dynamic", "split_outliers": True}])
def test_what_cannot_be_followed_is_refused(changes):
    precision = replace(Precision("weight_only", 4, 32, True), **changes)
    with pytest.raises(RecipeError, match="qat") as caught:
        fakes_of(TEACHER, Plan({"encoder.layers.0.fc2": precision}))
    assert caught.value.place == "encoder.layers.0.fc2"

"""Any mixture of precisions and fusions over the modules computes the same network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_whisper import SCHEMES, opened, recipe_plan, small_checkpoint, speech_like, sqnr_db, uniform_plan

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.emit.artifact import emit
from fastwhisper_compress.emit.audit import audit
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.emit.quantize import blockwise, per_channel_int8
from fastwhisper_compress.errors import ProviderError
from fastwhisper_compress.recipe import find_recipe, list_recipes, load_recipe

PROMPT, TEXT = (257, 270), tuple(b"Ten words.")
SAMPLES = speech_like(0.9, 5)
CHECKPOINT = small_checkpoint(7, encoder_layers=2, decoder_layers=2)


def outputs(checkpoint, plan, folder):
    artifact = opened(checkpoint, plan, folder)
    encoded = artifact.encode([SAMPLES], hidden=True)
    return encoded.hidden, artifact.forced_logits(encoded, PROMPT, TEXT)


def as_stored(checkpoint, plan):
    """The checkpoint with every weight rounded as the plan stores it."""
    changed = {}
    for path, precision in plan.precision.items():
        weight = checkpoint.tensors[f"{path}.weight"]
        if precision.scheme == "fp16":
            rounded = weight.astype(np.float16)
        elif precision.scheme == "int8_dynamic":
            values, scale = per_channel_int8(weight)
            rounded = values * scale[:, None]
        else:
            blocks = plan.blocks.get(path) or blockwise(
                weight, precision.bits, precision.group_size, symmetric=precision.symmetric
            )
            centred = blocks.values.astype(np.float32) - np.repeat(blocks.zero, precision.group_size, axis=1)
            rounded = centred * np.repeat(blocks.scale, precision.group_size, axis=1)
        changed[f"{path}.weight"] = rounded.astype(np.float32)
    return checkpoint.with_tensors(changed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("plan") / "artifact"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fused_equals_plain_equals_the_rounded_weights_in_fp32(folders, scheme):
    plans = {fuse: uniform_plan(CHECKPOINT.dims, SCHEMES[scheme], fuse=fuse) for fuse in (True, False)}
    expected = outputs(as_stored(CHECKPOINT, plans[True]), uniform_plan(CHECKPOINT.dims), folders())
    for fuse, plan in plans.items():
        for found, reference in zip(outputs(CHECKPOINT, plan, folders()), expected, strict=True):
            if scheme == "int8_dynamic" or (fuse and SCHEMES[scheme].scheme == "weight_only"):
                assert 20 < sqnr_db(reference, found) < 60  # the activations are INT8 as well
            else:
                assert np.abs(found - reference).max() < 1e-3


PATHS = [m.path for m in modules(CHECKPOINT.dims)]
LINEAR = [m.path for m in modules(CHECKPOINT.dims) if m.kind in ("linear", "embedding")]
STORED = [m.path for m in modules(CHECKPOINT.dims) if m.kind in ("conv", "positions")]


@st.composite
def plans(draw):
    chosen = {path: SCHEMES[draw(st.sampled_from(sorted(SCHEMES)))] for path in LINEAR}
    chosen |= {path: SCHEMES[draw(st.sampled_from(["fp32", "fp16"]))] for path in STORED}
    fuse = draw(st.sets(st.sampled_from(PATHS)) | st.just(set(PATHS)))
    return Plan({path: p for path, p in chosen.items() if p.scheme != "fp32"}, frozenset(fuse))


@given(plan=plans())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_mixture_computes_the_network(folders, plan):
    folder = folders()
    found = outputs(CHECKPOINT, plan, folder)
    expected = outputs(as_stored(CHECKPOINT, plan), uniform_plan(CHECKPOINT.dims), folders())
    for one, other in zip(found, expected, strict=True):
        assert sqnr_db(other, one) > 20  # a swapped, dropped or doubled weight is below 5 dB


@pytest.mark.parametrize("name", list_recipes())
@pytest.mark.parametrize("fuse", [True, False])
def test_shipped_recipes_compute_the_network(folders, name, fuse):
    compressed = recipe_plan(CHECKPOINT, load_recipe(find_recipe(name)).recipe, fuse=fuse)
    plain = replace(uniform_plan(CHECKPOINT.dims, fuse=not fuse), hidden_scale=compressed.plan.hidden_scale)
    expected = outputs(as_stored(compressed.checkpoint, compressed.plan), plain, folders())
    for one, other in zip(outputs(compressed.checkpoint, compressed.plan, folders()), expected, strict=True):
        assert sqnr_db(other, one) > 20


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "int8_dynamic"])
@pytest.mark.parametrize("fuse", [True, False])
def test_cuda_graphs_compute_the_network(folders, scheme, fuse):
    """Opened on CPU, where ONNX Runtime casts around what it has no FP16 kernel for: half precision, no more."""
    plan = uniform_plan(CHECKPOINT.dims, SCHEMES[scheme], fuse=fuse, provider="cuda")
    expected = outputs(as_stored(CHECKPOINT, plan), uniform_plan(CHECKPOINT.dims), folders())
    for found, reference in zip(outputs(CHECKPOINT, plan, folders()), expected, strict=True):
        assert np.isfinite(found).all()
        if scheme == "fp32":
            assert np.abs(found - reference).max() < 1e-3
        else:
            assert sqnr_db(reference, found) > 45  # FP16 has 11 bits: 66 dB a rounding


def test_cuda_attention_and_weight_only_are_half_precision(tmp_path):
    import onnx
    from onnx import TensorProto, shape_inference

    plan = uniform_plan(CHECKPOINT.dims, SCHEMES["int8"], fuse=False, provider="cuda")
    emission = emit(CHECKPOINT, plan, tmp_path)
    assert {row.compute for row in emission.modules if row.kind in ("linear", "embedding")} == {"fp16"}
    for name in ("encoder", "decoder"):
        path = tmp_path / "onnx" / f"{name}.onnx"
        graph = shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True).graph
        types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
        products = [node for node in graph.node if node.op_type == "MatMul"]
        assert len(products) > 10
        assert {types[node.output[0]] for node in products} == {TensorProto.FLOAT16}
        assert {types[n.output[0]] for n in graph.node if n.op_type == "Softmax"} == {TensorProto.FLOAT16}
        assert {types[n.output[0]] for n in graph.node if n.op_type == "LayerNormalization"} == {TensorProto.FLOAT}


def test_cuda_refuses_what_it_has_no_kernel_for_and_writes_nothing(tmp_path):
    plan = uniform_plan(CHECKPOINT.dims, SCHEMES["int8_dynamic"], provider="cuda")
    with pytest.raises(ProviderError, match="no kernel for int8_dynamic") as caught:
        emit(CHECKPOINT, plan, tmp_path)
    assert caught.value.exit_code == 4
    assert caught.value.place in LINEAR
    assert "weight_only" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_the_same_plan_gives_the_same_bytes(tmp_path):
    plan = uniform_plan(CHECKPOINT.dims, SCHEMES["int4"])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        emission = emit(CHECKPOINT, plan, tmp_path / name)
        audit(tmp_path / name, modules(CHECKPOINT.dims), plan, emission.modules)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file

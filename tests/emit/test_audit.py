"""The audit reads the files: whatever was changed in them behind the emitter's back must be found."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import permutations

import onnx
import pytest
from onnx import TensorProto, helper
from small_whisper import SCHEMES, recipe_plan, write_artifact

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.emit.artifact import GRAPHS
from fastwhisper_compress.emit.audit import audit
from fastwhisper_compress.emit.precision import FP16, FP32, INT8_DYNAMIC, Plan, Precision
from fastwhisper_compress.errors import GateError
from fastwhisper_compress.recipe import find_recipe, list_recipes, load_recipe

Q = "encoder.layers.0.self_attn.q_proj"
FC1 = "decoder.layers.0.fc1"


@pytest.mark.parametrize(
    ("scheme", "provider"), [(s, p) for s in SCHEMES for p in ("cpu", "cuda") if (s, p) != ("int8_dynamic", "cuda")]
)
@pytest.mark.parametrize("fuse", [True, False])
def test_what_was_planned_passes(emitted, checkpoint, scheme, fuse, provider):
    made = emitted(scheme, fuse=fuse, provider=provider)
    audit(made.folder, modules(checkpoint.dims), made.plan, made.emission.modules)


@pytest.mark.parametrize(("emitted_as", "planned_as"), list(permutations(SCHEMES, 2)))
@pytest.mark.parametrize("fuse", [True, False])
def test_another_precision_than_planned_is_found(emitted, checkpoint, emitted_as, planned_as, fuse):
    made = emitted(emitted_as, fuse=fuse)
    # Only one module is off, so that the audit has to look at each.
    precision = dict(made.plan.precision) | {FC1: SCHEMES[planned_as]}
    with pytest.raises(GateError, match=FC1) as caught:
        audit(made.folder, modules(checkpoint.dims), Plan(precision, made.plan.fuse), made.emission.modules)
    assert caught.value.exit_code == 3


@pytest.fixture
def tampered(emitted, checkpoint, tmp_path):
    """A function that changes a graph on disk and audits it."""

    def tampered_(scheme, graph, change, *, fuse=True, module=None):
        made = emitted(scheme, fuse=fuse)
        folder = tmp_path / "tampered"
        shutil.copytree(made.folder, folder)
        model = onnx.load(folder / GRAPHS[graph], load_external_data=False)
        change(model.graph)
        onnx.save(model, folder / GRAPHS[graph])
        with pytest.raises(GateError, match=module):
            audit(folder, modules(checkpoint.dims), made.plan, made.emission.modules)

    return tampered_


def node(graph, name):
    return next(node for node in graph.node if node.name == name)


def tensor(graph, name):
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def retype(name, kind):
    return lambda graph: setattr(tensor(graph, name), "data_type", kind)


def test_a_weight_of_another_type_is_found(tampered):
    tampered("fp16", "decoder", retype(f"{FC1}.weight", TensorProto.FLOAT), module=FC1)


def test_a_missing_weight_is_found(tampered):
    tampered("fp16", "decoder", lambda g: g.initializer.remove(tensor(g, f"{FC1}.weight")), module=f"{FC1}.*absent")


def test_another_operator_is_found(tampered):
    def change(graph):
        node(graph, FC1).op_type = "QLinearMatMul"

    tampered("int8_dynamic", "decoder", change, module=FC1)


def test_an_operator_that_takes_another_weight_is_found(tampered):
    """As if the compressed weight lay unused beside an FP32 copy."""

    def change(graph):
        copy = helper.make_tensor("copy", TensorProto.FLOAT16, [1], b"\0\0", raw=True)
        graph.initializer.append(copy)
        cast = next(n for n in graph.node if n.op_type == "Cast" and n.input[0] == f"{FC1}.weight")
        cast.input[0] = "copy"

    tampered("fp16", "decoder", change, module=FC1)


@pytest.mark.parametrize(("name", "value"), [("bits", 8), ("block_size", 64)])
def test_other_bits_or_groups_are_found(tampered, name, value):
    def change(graph):
        attribute = next(a for a in node(graph, FC1).attribute if a.name == name)
        attribute.i = value

    tampered("int4", "decoder", change, module=FC1)


def test_the_tied_embedding_is_audited_too(tampered):
    def change(graph):
        node(graph, "proj_out").op_type = "MatMul"

    tampered("int8", "decoder", change, module="decoder.embed_tokens", fuse=True)


def test_a_module_that_was_not_written_is_found(emitted, checkpoint):
    made = emitted("fp32")
    rows = [row for row in made.emission.modules if row.path != Q]
    with pytest.raises(GateError, match="is in no graph"):
        audit(made.folder, modules(checkpoint.dims), made.plan, rows)


def test_a_ledger_that_points_elsewhere_is_found(emitted, checkpoint):
    """A row that names some other module's FP16 weight does not pass for its own."""
    made = emitted("fp16", fuse=False)
    other = next(row for row in made.emission.modules if row.path == FC1)
    rows = [replace(row, weight=other.weight) if row.path == Q else row for row in made.emission.modules]
    with pytest.raises(GateError, match=Q):
        audit(made.folder, modules(checkpoint.dims), made.plan, rows)


def test_int8_attn_fp16_keeps_every_attention_weight_in_half_precision(checkpoint, tmp_path):
    """The recipe's claim, read off the ONNX graphs alone, without the ledger."""
    compressed = recipe_plan(checkpoint, load_recipe(find_recipe("int8_attn_fp16")).recipe)
    write_artifact(checkpoint, compressed.plan, tmp_path / "a")
    attention, others = {}, {}
    for name in ("encoder", "decoder"):
        graph = onnx.load(tmp_path / "a" / GRAPHS[name], load_external_data=False).graph
        initializers = {tensor.name: tensor for tensor in graph.initializer}
        for product in graph.node:
            if product.op_type not in ("MatMul", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulNBits", "Gemm"):
                continue
            weight = product.input[1]
            cast = next((n for n in graph.node if n.op_type == "Cast" and weight in n.output), None)
            stored = initializers[cast.input[0] if cast else weight]
            (attention if "_attn" in product.name else others)[product.name] = stored.data_type
        # Nor may a second copy of an attention weight lie around in any other type.
        for tensor_ in initializers.values():
            if "_attn" in tensor_.name and len(tensor_.dims) == 2:
                assert tensor_.data_type == TensorProto.FLOAT16, tensor_.name
    assert len(attention) == 2 * 4 + 2 + 4  # encoder: q, k, v, out; cross k, v; decoder: qkv, out, q, out
    assert set(attention.values()) == {TensorProto.FLOAT16}
    assert len(others) == 2 * 2 + 2 + 1  # fc1 and fc2, and the logits
    assert set(others.values()) <= {TensorProto.INT8, TensorProto.UINT8}


@pytest.mark.parametrize("name", list_recipes())
@pytest.mark.parametrize("fuse", [True, False])
def test_every_shipped_recipe_is_emitted_as_it_says(checkpoint, tmp_path, name, fuse):
    compressed = recipe_plan(checkpoint, load_recipe(find_recipe(name)).recipe, fuse=fuse)
    emission = write_artifact(compressed.checkpoint, compressed.plan, tmp_path / "a")
    audit(tmp_path / "a", modules(checkpoint.dims), compressed.plan, emission.modules)


def test_a_plan_knows_its_storage_and_its_cache():
    stored = [p.storage for p in (FP32, FP16, INT8_DYNAMIC, Precision("weight_only", 8, 32), SCHEMES["int4"])]
    assert stored == ["fp32", "fp16", "int8", "int8", "int4"]
    assert Plan({Q: FP16}, provider="cpu").kv_dtype == "fp32"
    assert Plan({Q: FP16}, provider="cuda").kv_dtype == "fp16"
    assert Plan({FC1: FP16, "decoder.layers.0.self_attn_layer_norm": FP16}, provider="cuda").kv_dtype == "fp32"

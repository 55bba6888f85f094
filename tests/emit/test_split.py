"""The parts of a graph: every node once, in order, and together what the whole computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from small_whisper import SCHEMES, small_checkpoint, uniform_plan

from fastwhisper_compress.emit import split as module
from fastwhisper_compress.emit.artifact import emit
from fastwhisper_compress.emit.split import split
from fastwhisper_compress.errors import RecipeError


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint(3, decoder_layers=3, encoder_layers=3)


@pytest.fixture(params=["fp32", "fp16"])
def folder(request, checkpoint, tmp_path):
    emit(checkpoint, uniform_plan(checkpoint.dims, SCHEMES[request.param]), tmp_path)
    return tmp_path / "onnx"


def load(folder, graph):
    return onnx.load(folder / f"{graph}.onnx", load_external_data=False)


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_every_node_is_in_one_part_and_in_order(folder, graph):
    whole = load(folder, graph)
    parts = split(whole, folder)
    assert [node.name for part in parts for node in part.graph.node] == [node.name for node in whole.graph.node]
    layers = {node.name.split(".")[2] for node in whole.graph.node if node.name.startswith(f"{graph}.layers.")}
    first = [part.graph.node[0].name for part in parts]
    assert [name.split(".")[2] for name in first if name.startswith(f"{graph}.layers.")] == sorted(layers)


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_what_a_part_takes_was_made_before_in_the_same_type(folder, graph):
    whole = load(folder, graph)
    known = {value.name: value.type.tensor_type.elem_type for value in whole.graph.input}
    for part in split(whole, folder):
        for value in part.graph.input:
            assert known[value.name] == value.type.tensor_type.elem_type
        made = {name for node in part.graph.node for name in node.output}
        assert {value.name for value in part.graph.output} <= made
        known |= {value.name: value.type.tensor_type.elem_type for value in part.graph.output}
    assert {value.name for value in whole.graph.output} <= known.keys()


def test_the_written_parts_are_valid_and_name_all_their_weights(checkpoint, tmp_path):
    emission = emit(checkpoint, uniform_plan(checkpoint.dims), tmp_path, layers=True)
    size = (tmp_path / emission.layers["weights"]).stat().st_size
    for part in [*emission.layers["encoder"], *emission.layers["decoder"]]:
        onnx.checker.check_model(tmp_path / part["graph"])
        stored = onnx.load(tmp_path / part["graph"], load_external_data=False).graph.initializer
        external = {tensor.name for tensor in stored if tensor.data_location == TensorProto.EXTERNAL}
        assert {weight["name"] for weight in part["weights"]} == external
        assert all(weight["offset"] + weight["length"] <= size for weight in part["weights"])


def test_other_artifacts_do_not_grow(checkpoint, tmp_path):
    assert emit(checkpoint, uniform_plan(checkpoint.dims), tmp_path).layers is None
    assert len(list((tmp_path / "onnx").iterdir())) == 4


def test_the_logits_are_cut_into_bands_that_cover_the_embedding(folder, checkpoint, monkeypatch):
    monkeypatch.setattr(module, "LOGITS_BAND_BYTES", 4 * checkpoint.dims.d_model * 96)
    parts = split(load(folder, "decoder"), folder)
    tensors = [
        tensor
        for part in parts
        for tensor in part.graph.initializer
        if tensor.name.startswith("proj_out.rows.") and len(tensor.dims) == 2
    ]
    assert [tensor.dims[0] for tensor in tensors] == [96, 96, 96, 32]
    places = [
        {entry.key: int(entry.value) for entry in tensor.external_data if entry.key != "location"} for tensor in tensors
    ]
    ends = [place["offset"] + place["length"] for place in places]
    assert [place["offset"] for place in places[1:]] == ends[:-1]
    table = next(t for t in load(folder, "decoder").graph.initializer if t.name == "decoder.embed_tokens.weight")
    whole = {entry.key: entry.value for entry in table.external_data}
    assert (places[0]["offset"], sum(place["length"] for place in places)) == (
        int(whole["offset"]),
        int(whole["length"]),
    )
    assert not any(tensor.name == table.name for part in parts for tensor in part.graph.initializer)
    assert parts[-1].graph.node[0].op_type == "Concat"
    assert np.prod(table.dims) == sum(np.prod(tensor.dims) for tensor in tensors)


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name not in ("fp32", "fp16")])
def test_repacking_kernels_are_refused_before_anything_is_written(checkpoint, tmp_path, scheme):
    with pytest.raises(RecipeError, match="cannot stream") as caught:
        emit(checkpoint, uniform_plan(checkpoint.dims, SCHEMES[scheme]), tmp_path, layers=True)
    assert "offload: phase" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_layers_are_for_the_cpu(checkpoint, tmp_path):
    with pytest.raises(RecipeError, match="for cuda"):
        emit(checkpoint, uniform_plan(checkpoint.dims, provider="cuda"), tmp_path, layers=True)

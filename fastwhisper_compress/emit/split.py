"""Cut a written graph into parts, a layer each, so that a runtime need not hold the weights of more than one.

The nodes keep their order, names and weights. Every node is named after the module it computes, which tells its layer;
what comes before the first layer is a part, and so is the product behind the last that gives the logits. That product
reads the whole embedding, the largest tensor of all, so it is cut further, into bands of rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from fastwhisper_compress.emit.streamable import LOGITS_BAND_BYTES

_LOGITS = "proj_out"
_LAYER = re.compile(rf"(?:encoder|decoder)\.layers\.\d+(?=\.)|{_LOGITS}(?:\.rows\.\d+)?(?=\.|$)")
_DTYPES = {"tensor(float)": TensorProto.FLOAT, "tensor(float16)": TensorProto.FLOAT16}
_DTYPES |= {"tensor(int64)": TensorProto.INT64, "tensor(int32)": TensorProto.INT32, "tensor(bool)": TensorProto.BOOL}


def write_parts(graph: Path, folder: Path) -> list[dict[str, Any]]:
    """Write the parts of a graph file beside it, and return what a runtime must know of them.

    Args:
        graph: The ``.onnx`` file; its weight file lies beside it.
        folder: The artifact, which names in the answer are relative to.

    Returns:
        For each part, in order, ``graph``, and ``weights``: ``name``, ``dtype``, ``shape``, ``offset`` and ``length`` of
        each tensor that lies in the weight file.
    """
    index = []
    for number, part in enumerate(split(onnx.load(graph, load_external_data=False), graph.parent)):
        path = graph.with_name(f"{graph.stem}.part{number:03d}.onnx")
        onnx.save(part, path)
        index.append({"graph": path.relative_to(folder).as_posix(), "weights": _weights(part)})
    return index


def split(model: onnx.ModelProto, folder: Path) -> list[onnx.ModelProto]:
    """Return the parts of a model whose weight file lies in ``folder``.

    A value that crosses a boundary is an output of one part and an input of others, under its own name.
    """
    model = deepcopy(model)
    _cut_logits(model.graph)
    groups = _groups(model.graph.node)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    own_outputs = {value.name for value in model.graph.output}
    takes = [_outside(nodes) - initializers.keys() for nodes in groups]
    makes = [{name for node in nodes for name in node.output if name} for nodes in groups]
    crossing = set().union(*takes) & set().union(*makes)
    values = {value.name: value for value in (*model.graph.input, *model.graph.output)}
    values |= _typed(model, crossing - own_outputs, folder)
    parts = []
    for nodes, taken, made in zip(groups, takes, makes, strict=True):
        named = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            model.graph.name,
            [value for name, value in values.items() if name in taken],
            [value for name, value in values.items() if name in made and (name in crossing or name in own_outputs)],
            initializer=[tensor for name, tensor in initializers.items() if name in named],
        )
        parts.append(
            helper.make_model(
                graph,
                opset_imports=model.opset_import,
                ir_version=model.ir_version,
                producer_name=model.producer_name,
            )
        )
    return parts


def _groups(nodes: Iterable[onnx.NodeProto]) -> list[list[onnx.NodeProto]]:
    """Return the nodes in runs of one layer each; nodes of no layer belong to the run they follow."""
    groups: list[list[onnx.NodeProto]] = [[]]
    current = None
    for node in nodes:
        found = _LAYER.match(node.name)
        if found and found[0] != current:
            current = found[0]
            groups.append([])
        groups[-1].append(node)
    return [nodes for nodes in groups if nodes]


def _outside(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Return what the nodes read and do not make themselves."""
    read = {name for node in nodes for name in node.input if name}
    return read - {name for node in nodes for name in node.output}


def _typed(model: onnx.ModelProto, names: Iterable[str], folder: Path) -> dict[str, onnx.ValueInfoProto]:
    """Return inner values with their types and shapes, as ONNX Runtime infers them: ``onnx`` knows no fused operator."""
    import onnxruntime as ort

    asked = deepcopy(model)
    asked.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(names))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = ort.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = {value.name: value for value in session.get_outputs()}
    return {
        name: helper.make_tensor_value_info(name, _DTYPES[found[name].type], found[name].shape)
        for name in sorted(names)
    }


def _cut_logits(graph: onnx.GraphProto) -> None:
    """Replace the product with the embedding by several, each with a band of its rows, and join what they give."""
    at = next((i for i, node in enumerate(graph.node) if (node.name, node.op_type) == (_LOGITS, "Gemm")), None)
    if at is None:
        return
    product = graph.node[at]
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    cast = next((node for node in graph.node if product.input[1] in node.output), None)
    table = tensors[product.input[1] if cast is None else cast.input[0]]
    place = {entry.key: entry.value for entry in table.external_data}
    rows, width = table.dims
    row_bytes = int(place["length"]) // rows
    most = max(1, LOGITS_BAND_BYTES // (4 * width))
    if rows <= most:
        return
    nodes, outs = [], []
    for band, start in enumerate(range(0, rows, most)):
        name = f"{_LOGITS}.rows.{band}"
        count = min(most, rows - start)
        tensor = TensorProto(name=f"{name}.weight", data_type=table.data_type, dims=(count, width))
        tensor.data_location = TensorProto.EXTERNAL
        span = {"offset": int(place["offset"]) + start * row_bytes, "length": count * row_bytes}
        for key, value in ({"location": place["location"]} | span).items():
            tensor.external_data.add(key=key, value=str(value))
        graph.initializer.append(tensor)
        weight = tensor.name
        if cast is not None:
            own = deepcopy(cast)
            own.name, own.input[0], own.output[0] = f"{name}.cast", weight, f"{name}.weight.cast"
            weight = own.output[0]
            nodes.append(own)
        multiply = deepcopy(product)
        multiply.name, multiply.input[1], multiply.output[0] = name, weight, f"{name}.out"
        nodes.append(multiply)
        outs.append(multiply.output[0])
    nodes.append(helper.make_node("Concat", outs, [product.output[0]], name=_LOGITS, axis=1))
    kept = [node for node in graph.node if node is not cast and node is not product]
    before = sum(node is not cast for node in list(graph.node)[:at])
    kept[before:before] = nodes
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.remove(table)


def _weights(part: onnx.ModelProto) -> list[dict[str, Any]]:
    found = []
    for tensor in part.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            found.append(
                {
                    "name": tensor.name,
                    "dtype": str(helper.tensor_dtype_to_np_dtype(tensor.data_type)),
                    "shape": list(tensor.dims),
                    "offset": int(place["offset"]),
                    "length": int(place["length"]),
                }
            )
    return found

"""Read the written graphs back: is every module stored and computed as the plan says?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto

from fastwhisper_compress.checkpoint.dims import Module
from fastwhisper_compress.checkpoint.factors import factor_paths
from fastwhisper_compress.emit.artifact import GRAPHS
from fastwhisper_compress.emit.emitter import Written
from fastwhisper_compress.emit.precision import Plan, Precision
from fastwhisper_compress.errors import GateError

_STORED = {
    "fp32": {TensorProto.FLOAT},
    "fp16": {TensorProto.FLOAT16},
    "int8": {TensorProto.INT8, TensorProto.UINT8},
    "int4": {TensorProto.UINT8, TensorProto.UINT4},  # MatMulNBits packs two a byte
}
_MULTIPLIES = {
    "fp32": {"MatMul", "Gemm", "Conv"},
    "fp16": {"MatMul", "Gemm", "Conv"},
    "int8_dynamic": {"DynamicQuantizeMatMul", "MatMulInteger"},
    "weight_only": {"MatMulNBits", "MatMul"},
}


def audit(folder: Path, modules: Iterable[Module], plan: Plan, written: Iterable[Written]) -> None:
    """Check the graphs on disk against the plan, trusting nothing the emitter remembered but the names.

    Raises:
        GateError: A module is missing, its weight is of another type than planned, or another operator takes it.
    """
    names = ("encoder", "decoder")
    graphs = _Graphs([onnx.load(folder / GRAPHS[name], load_external_data=False).graph for name in names])
    rows = {row.path: row for row in written}
    for module in modules:
        factors = factor_paths(module.path)
        for path in factors if any(one in rows for one in factors) else (module.path,):
            if module.kind == "attention":
                continue
            if path not in rows:
                raise _off(path, "is in no graph")
            _check(graphs, module.kind, rows[path], plan.of(path))


class _Graphs:
    """Graphs by the names of what is in them."""

    def __init__(self, graphs: Sequence[onnx.GraphProto]) -> None:
        self.all = graphs
        self.types = {tensor.name: tensor.data_type for graph in graphs for tensor in graph.initializer}
        self.nodes = {node.name: node for graph in graphs for node in graph.node}
        self.producers = {output: node for graph in graphs for node in graph.node for output in node.output}


def _check(graphs: _Graphs, kind: str, row: Written, precision: Precision) -> None:
    """Check one row of the ledger."""
    types, producers = graphs.types, graphs.producers
    stored = types.get(row.weight)
    if stored not in _STORED[precision.storage]:
        name = "absent" if stored is None else TensorProto.DataType.Name(stored)
        raise _off(row.path, f"is planned as {precision.storage}, its weight {row.weight!r} is {name}")
    node = graphs.nodes.get(row.node)
    if node is None or node.op_type != row.kernel.rpartition("+")[2] or not _reaches(node, row.weight, producers):
        raise _off(row.path, f"does not enter the node {row.node!r} of kernel {row.kernel}")
    if kind in ("linear", "embedding", "conv") and node.op_type not in _MULTIPLIES[precision.scheme]:
        raise _off(row.path, f"is multiplied by {node.op_type}, planned as {precision.scheme}")
    if kind == "embedding" and len(copies := _copies(graphs.all, row.path, row.parameters)) != 1:
        raise _off(row.path, f"is tied, but {len(copies)} copies of it are stored")
    if precision.scheme == "weight_only":
        found = _blocks(node, producers, types)
        if found != (precision.bits, precision.group_size, TensorProto.FLOAT16):
            planned = f"{precision.bits} bits in groups of {precision.group_size} with FP16 scales"
            raise _off(row.path, f"is planned as {planned}, written as {found}")


def _copies(graphs: Iterable[onnx.GraphProto], path: str, parameters: int) -> set[str]:
    """Return the places in the weight file of all tensors of a module that are large enough to be its weight."""
    places = set()
    for graph in graphs:
        for tensor in graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            if tensor.name.startswith(f"{path}.") and 2 * int(place.get("length", 0)) >= parameters:
                places.add(place["offset"])
    return places


def _reaches(node: onnx.NodeProto, weight: str, producers: dict[str, onnx.NodeProto]) -> bool:
    """Say whether the weight enters the node directly or through operators that only change its type or layout."""

    def origin(value: str) -> str:
        while value in producers and producers[value].op_type in ("Cast", "DequantizeLinear", "Transpose"):
            value = producers[value].input[0]
        return value

    return weight in map(origin, node.input)


def _blocks(
    node: onnx.NodeProto, producers: dict[str, onnx.NodeProto], types: dict[str, int]
) -> tuple[int, int, int | None] | None:
    """Return the bits, the group size and the scales' stored type of a node's weight, None if it is not in blocks."""

    def stored(scale: str) -> int | None:
        return types.get(producers[scale].input[0] if scale in producers else scale)

    if node.op_type == "MatMulNBits":
        found = {attribute.name: attribute.i for attribute in node.attribute}
        return found["bits"], found["block_size"], stored(node.input[2])
    for value in node.input:
        source = producers.get(value)
        while source is not None and source.op_type in ("Cast", "Transpose"):
            source = producers.get(source.input[0])
        if source is not None and source.op_type == "DequantizeLinear":
            found = {attribute.name: attribute.i for attribute in source.attribute}
            bits = 4 if types[source.input[0]] == TensorProto.UINT4 else 8
            return bits, found["block_size"], stored(source.input[1])
    return None


def _off(path: str, what: str) -> GateError:
    return GateError(
        f"the emitted graph is not what the recipe asked for: {path} {what}", remedy="report this as a bug"
    )

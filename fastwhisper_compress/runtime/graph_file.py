"""Refuse a graph file that is not of our writing, before ONNX Runtime or OpenVINO reads it.

An ONNX file can name any other file as the home of its tensors, hold code in functions and subgraphs, and claim tensors
of any size. What is written here needs little of that, so a graph may hold just this: nodes of the operators below, whose
attributes are numbers and text, and tensors whose bytes are all there, in the graph or in a plain file beside it.

What this does not hold: how long, and in how much memory, a graph computes.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastwhisper_compress.errors import UnsafeInputError
from fastwhisper_compress.runtime import protobuf
from fastwhisper_compress.runtime.protobuf import RefusedError, Value

_LARGEST_BYTES = 64_000_000  # without their weights, graphs of a large Whisper have less than 1 MB
_LONGEST_NAME = 200
_DOMAINS = {"", "com.microsoft"}
_OPERATORS = {
    *("Add", "BitShift", "BitwiseAnd", "Cast", "Concat", "Conv", "DequantizeLinear", "Div", "DynamicQuantizeLinear"),
    *("DynamicQuantizeMatMul", "Expand", "Gather", "GatherBlockQuantized", "Gelu", "Gemm", "Greater"),
    *("GroupQueryAttention", "Identity"),
    *("LayerNormalization", "Log", "MatMul", "MatMulInteger", "MatMulNBits", "Max", "Min", "Mul", "MultiHeadAttention"),
    *(
        "Pad",
        "QuantizeLinear",
        "Range",
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "Shape",
        "SkipLayerNormalization",
        "Slice",
        "Softmax",
        "Split",
    ),
    *("Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
}
# Bits of a value of each element type: floats, integers, and the 4-bit ones.
_ITEM_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 21: 4, 22: 4}
_EXTERNAL = 1  # data_location

# The fields of onnx.proto that a graph of ours may have. Not among them: functions, training, sparse tensors; attributes
# that are graphs or tensors; tensors whose values are spelled out one by one.
_MODEL = {1: "ir_version", 2: "producer_name", 3: "producer_version", 4: "domain", 5: "model_version", 6: "doc_string"}
_MODEL |= {7: "graph", 8: "opset_import", 14: "metadata_props"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 10: "doc_string", 11: "input", 12: "output", 13: "value_info"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 6: "doc_string", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 4: "s", 7: "floats", 8: "ints", 9: "strings", 13: "doc_string", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data", 12: "doc_string", 13: "external_data"}
_TENSOR |= {14: "data_location"}
_ENTRY = {1: "key", 2: "value"}
_OPSET = {1: "domain", 2: "version"}
_REPEATED = frozenset(
    {
        *("opset_import", "metadata_props", "node", "initializer", "input", "output", "value_info", "attribute"),
        *("floats", "ints", "strings", "dims", "external_data"),
    }
)
_NOTHING = memoryview(b"")


def check_graph(path: Path) -> None:
    """Check a graph file, and that the weights it names lie beside it.

    Raises:
        UnsafeInputError: It is no graph of this format, or claims what is not there.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            problem = f"has {size:,} bytes"
        else:
            _check_model(memoryview(path.read_bytes()), path.parent)
            return
    except RefusedError as error:
        problem = str(error)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise UnsafeInputError(
        f"is no graph of this format: it {problem}", place=str(path), remedy="do not use it; run the recipe again"
    )


def _fields(value: Value, known: Mapping[int, str]) -> Iterator[tuple[str, Value]]:
    return protobuf.fields(protobuf.message(value), known, _REPEATED)


def _check_model(data: memoryview, folder: Path) -> None:
    graph = None
    for field, value in _fields(data, _MODEL):
        if field == "graph":
            graph = value
        elif field == "opset_import":
            _check_domain(dict(_fields(value, _OPSET)))
    if graph is None:
        raise RefusedError("holds no graph")
    sizes: dict[str, int] = {}
    for field, value in _fields(graph, _GRAPH):
        if field == "node":
            _check_node(value)
        elif field == "initializer":
            _check_tensor(value, folder, sizes)


def _check_domain(found: Mapping[str, Value]) -> None:
    domain = protobuf.text(found.get("domain", _NOTHING))
    if domain not in _DOMAINS:
        raise RefusedError(f"asks for operators of {_shown(domain)}")


def _check_node(node: Value) -> None:
    found = {}
    for field, value in _fields(node, _NODE):
        found[field] = value
        if field == "attribute":
            for _ in _fields(value, _ATTRIBUTE):
                pass
    _check_domain(found)
    operator = protobuf.text(found.get("op_type", _NOTHING))
    if operator not in _OPERATORS:
        raise RefusedError(f"has the operator {_shown(operator)}")


def _check_tensor(tensor: Value, folder: Path, sizes: dict[str, int]) -> None:
    """Check that just as many bytes are there as the shape asks for.

    Args:
        tensor: The message.
        folder: Where the graph lies.
        sizes: Of the weight files seen so far, by name; added to.
    """
    dims: list[int] = []
    outside: dict[str, str] = {}
    found: dict[str, Value] = {}
    for field, value in _fields(tensor, _TENSOR):
        found[field] = value
        if field == "dims":
            dims += protobuf.numbers(value)
        elif field == "external_data":
            entry = dict(_fields(value, _ENTRY))
            key = protobuf.text(entry.get("key", _NOTHING))
            if key in outside:
                raise RefusedError(f"says twice what the {_shown(key)} of a tensor is")
            outside[key] = protobuf.text(entry.get("value", _NOTHING))
    name = f"the tensor {_shown(protobuf.text(found.get('name', _NOTHING)))}"
    bits = _ITEM_BITS.get(protobuf.number(found.get("data_type", 0)))
    if bits is None or any(dim >= 1 << 63 for dim in dims):
        raise RefusedError(f"gives {name} a type or a shape that cannot be")
    n_bytes = -(-math.prod(dims) * bits // 8)
    if outside or protobuf.number(found.get("data_location", 0)):
        if "raw_data" in found or found.get("data_location") != _EXTERNAL:
            raise RefusedError(f"has {name} both inside and outside")
        _check_outside(name, outside, n_bytes, folder, sizes)
    elif (there := len(protobuf.message(found.get("raw_data", _NOTHING)))) != n_bytes:
        raise RefusedError(f"has {name} of {_count(n_bytes)} bytes, {there} of which are there")


def _check_outside(name: str, outside: Mapping[str, str], n_bytes: int, folder: Path, sizes: dict[str, int]) -> None:
    if outside.keys() != {"location", "offset", "length"}:
        raise RefusedError(f"does not say location, offset and length of {name}")
    location = outside["location"]
    if location not in sizes:
        sizes[location] = _size_beside(location, folder)
    offset, length = (_place(outside[key]) for key in ("offset", "length"))
    if length != n_bytes or offset + length > sizes[location]:
        raise RefusedError(
            f"has {name} of {_count(n_bytes)} bytes, and puts it into {length} bytes from {offset} on of "
            f"{_shown(location)}, which has {sizes[location]}"
        )


def _size_beside(location: str, folder: Path) -> int:
    """Return the size of a weight file: a plain file of that folder, which is no other file by another name."""
    if not location.isprintable() or location in ("", ".", "..") or set(location) & set("/\\:*"):
        raise RefusedError(f"has weights in {_shown(location)}, which is no name of a file beside it")
    if len(location) > _LONGEST_NAME:
        raise RefusedError("has weights in a file of a name too long")
    try:
        status = (folder / location).lstat()
    except OSError as error:
        raise RefusedError(f"has weights in {_shown(location)}, which cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"has weights in {_shown(location)}, which is a link or no file")
    if status.st_nlink > 1:
        raise RefusedError(f"has weights in {_shown(location)}, a hard link to what may be another's (copy the folder)")
    return status.st_size


def _place(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise RefusedError(f"says that a tensor begins or ends at {_shown(digits)}")
    return int(digits)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else f"{text[:77]}...")


def _count(number: int) -> str:
    return str(number) if number.bit_length() <= 64 else f"2^{number.bit_length()}"

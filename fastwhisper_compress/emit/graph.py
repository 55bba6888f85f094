"""A small ONNX graph builder: nodes named by the caller, weights in one external file, value types remembered."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Sequence

OPSET = 21  # the first with block-wise DequantizeLinear and INT4
IR_VERSION = 10
MS = "com.microsoft"
FLOAT, FLOAT16, INT64, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32
INT8 = TensorProto.INT8
_INLINE_BYTES = 1024  # smaller tensors live inside the graph
_PAGE = 4096  # larger ones start on a page, so that a runtime maps them without copying


class WeightFile:
    """One file of raw tensors that several graphs refer to; equal bytes are stored once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._offsets: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, data: bytes) -> int:
        """Append ``data`` unless it is already there; return its offset in bytes."""
        key = hashlib.sha256(data).hexdigest()
        if key not in self._offsets:
            align = _PAGE if len(data) >= _PAGE else 64
            self._file.write(b"\0" * (-self._file.tell() % align))
            self._offsets[key] = self._file.tell()
            self._file.write(data)
        return self._offsets[key]


class Graph:
    """An ONNX graph under construction.

    Every value's element type is remembered, so that :meth:`cast` inserts a Cast only where one is needed, and the
    fused operators written are counted in :attr:`fusions`.
    """

    def __init__(self, name: str, weights: WeightFile) -> None:
        self.name = name
        self.fusions: Counter[str] = Counter()
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._types: dict[str, int] = {}
        self._casts: dict[tuple[str, int], str] = {}

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> str:
        """Declare a graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        self._types[name] = dtype
        return name

    def output(self, name: str, value: str, dtype: int, shape: Sequence[int | str]) -> None:
        """Declare a graph output called ``name`` that carries ``value``."""
        if self._types[value] != dtype:
            self.node("Cast", [value], name, f"{name}.cast", dtype=dtype, to=dtype)
        elif value != name:
            self.node("Identity", [value], name, f"{name}.identity", dtype=dtype)
        self._outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def rename(self, value: str, name: str) -> str:
        """Give a value another name wherever it is made and taken: under it, it is an output that costs no node."""
        for node in self._nodes:
            for names in (node.input, node.output):
                for place, known in enumerate(names):
                    if known == value:
                        names[place] = name
        self._types[name] = self._types.pop(value)
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: str | Sequence[str],
        name: str,
        *,
        dtype: int | Sequence[int] = FLOAT,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append a node; return its first output. ``dtype`` is the type of each of its outputs, or of all."""
        outs = [outputs] if isinstance(outputs, str) else list(outputs)
        self._nodes.append(helper.make_node(op, list(inputs), outs, name=name, domain=domain, **attributes))
        self._types |= zip(outs, [dtype] * len(outs) if isinstance(dtype, int) else dtype, strict=True)
        return outs[0]

    def tensor(self, name: str, array: np.ndarray, *, dtype: int | None = None, data: bytes | None = None) -> str:
        """Add an initializer.

        Args:
            name: Its name; adding the same name again returns the first one.
            array: Its values.
            dtype: Its ONNX type where NumPy's is not it (packed 4-bit); then ``data`` holds the raw bytes and
                ``array`` only gives the shape.
            data: The raw little-endian bytes.
        """
        if name in self._initializers:
            return name
        kind = helper.np_dtype_to_tensor_dtype(array.dtype) if dtype is None else dtype
        raw = np.ascontiguousarray(array).tobytes() if data is None else data
        proto = TensorProto(name=name, data_type=kind, dims=array.shape)
        if len(raw) < _INLINE_BYTES:
            proto.raw_data = raw
        else:
            proto.data_location = TensorProto.EXTERNAL
            place = {"location": self._weights.path.name, "offset": self._weights.add(raw), "length": len(raw)}
            for key, value in place.items():
                proto.external_data.add(key=key, value=str(value))
        self._initializers[name] = proto
        self._types[name] = kind
        return name

    def const(self, value: Sequence[int] | float, dtype: int = INT64) -> str:
        """Add a small constant, shared by every use of the same value."""
        array = np.asarray(value, dtype=helper.tensor_dtype_to_np_dtype(dtype))
        label = "_".join(str(v) for v in array.reshape(-1).tolist())
        return self.tensor(f"const.{array.dtype}.{array.ndim}d.{label}", array)

    def type_of(self, value: str) -> int:
        """Return the ONNX element type of a value."""
        return self._types[value]

    def cast(self, value: str, dtype: int) -> str:
        """Return ``value`` as ``dtype``, through one Cast shared by all who ask."""
        if self._types[value] == dtype:
            return value
        key = (value, dtype)
        if key not in self._casts:
            label = TensorProto.DataType.Name(dtype).lower()
            self._casts[key] = self.node(
                "Cast", [value], f"{value}.{label}", f"{value}.to_{label}", dtype=dtype, to=dtype
            )
        return self._casts[key]

    def model(self) -> onnx.ModelProto:
        """Return the finished model; its external data lies beside it."""
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, initializer=list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MS, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fastwhisper-compress"
        )

"""What the block writers share: the graph, the tensors, the plan, and the ledger of what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.factors import bias_name, factor_paths, is_factorised, output_weight, owner
from fastwhisper_compress.emit.graph import FLOAT, FLOAT16, Graph
from fastwhisper_compress.emit.precision import Plan, Precision
from fastwhisper_compress.emit.quantize import Blocks, blockwise, stacked

# Kernels that round activations to INT8: of a whole tensor at a time, or with MatMulNBits (accuracy_level 4) of a block.
_INT8_KERNELS = {"DynamicQuantizeMatMul", "MatMulInteger", "MatMulNBits"}


@dataclass(frozen=True)
class Written:
    """One module as it stands in the graph; a row of the manifest.

    Attributes:
        path: The checkpoint module, or one of the two factors that it is kept as.
        kind: Its kind (linear, embedding, conv, layer_norm, positions).
        storage: Type of its bytes on disk.
        compute: Type that its kernel multiplies in.
        kernel: The operator that does so.
        node: Name of that operator's node in the graph.
        weight: Name of the initializer that holds the weight.
        parameters: Numbers it holds, biases included.
        bytes: Bytes it takes on disk, scales and biases included.
        sparsity: Share of its weight that is exactly zero.
    """

    path: str
    kind: str
    storage: str
    compute: str
    kernel: str
    node: str
    weight: str
    parameters: int
    bytes: int
    sparsity: float

    def to_json(self) -> dict[str, Any]:
        """Return the manifest row."""
        return asdict(self)


class Emitter:
    """Writes modules of one checkpoint into one graph, following one plan."""

    def __init__(self, graph: Graph, tensors: Mapping[str, np.ndarray], plan: Plan, dims: Dims) -> None:
        self.graph = graph
        self.plan = plan
        self.dims = dims
        self.ledger: list[Written] = []
        self._tensors = tensors

    def weight(self, path: str) -> np.ndarray:
        """Return a module's weight in FP32; of one that is kept as two factors, their product."""
        if self.factorised(path):
            first, second = (self.weight(one) for one in factor_paths(path))
            product: np.ndarray = second @ first
            return product
        return self._tensors[f"{path}.weight"].astype(np.float32)

    def factorised(self, path: str) -> bool:
        """Say whether a module is kept as two factors."""
        return is_factorised(self._tensors, path)

    def bias(self, path: str) -> np.ndarray | None:
        """Return a module's bias in FP32, None where it has none."""
        found = self._tensors.get(bias_name(path))
        return None if found is None else found.astype(np.float32)

    def blocks(self, paths: Sequence[str]) -> Blocks:
        """Return modules of one ``weight_only`` precision as integers, their rows joined.

        Those that calibration found are taken as they are; the others are rounded to the nearest.
        """
        precision = self.plan.of(paths[0])
        if precision.method != "nearest":
            return stacked([self.plan.blocks[path] for path in paths])
        weight = np.concatenate([self.weight(path) for path in paths])
        return blockwise(weight, precision.bits, precision.group_size, symmetric=precision.symmetric)

    def fused(self, path: str) -> bool:
        """Say whether the plan allows fused operators at a module."""
        return self.plan.fuses(path)

    def adds_in_norm(self, path: str) -> bool:
        """Say whether a layer norm adds the branch before it in the same operator.

        ONNX Runtime's kernel of it on a CPU takes longer than an addition and a norm: at 1,500 rows six times as long.
        """
        return self.fused(path) and self.plan.provider == "cuda"

    def compute_type(self, precision: Precision) -> int:
        """Return the ONNX type that a kernel of this precision takes and gives.

        The CPU provider has no FP16 MatMul, so there every kernel's activations are FP32.
        """
        half = self.plan.provider == "cuda" and precision.scheme in ("fp16", "weight_only")
        return FLOAT16 if half else FLOAT

    @property
    def attention_type(self) -> int:
        """Return the ONNX type of queries, keys and values, which is that of the KV cache too."""
        return FLOAT16 if self.plan.kv_dtype == "fp16" else FLOAT

    def heads(self, attention: str) -> int:
        """Count the heads that an attention's weights really have: pruning may have removed some."""
        rows = self._tensors[output_weight(self._tensors, f"{attention}.q_proj")].shape[0]
        return int(rows) // self.dims.head_dim(attention)

    def stored(self, path: str) -> tuple[str, int]:
        """Add a weight that only its storage makes smaller (a convolution, position embeddings).

        Returns:
            The initializer, in its storage type, and its size in bytes.
        """
        values = self.weight(path).astype(np.float16 if self.plan.of(path).scheme == "fp16" else np.float32)
        return self.graph.tensor(f"{path}.weight", values), values.nbytes

    def _as_stored(self, path: str, values: np.ndarray) -> np.ndarray:
        """Return a weight as far as its zeros go: integers found by calibration may have filled those of pruning."""
        found = self.plan.blocks.get(path)
        return values if found is None else found.values - np.repeat(found.zero, self.plan.of(path).group_size, axis=1)

    def add_bytes(self, path: str, stored: int) -> None:
        """Add to a module's entry what is stored of it elsewhere."""
        at = next(i for i, row in enumerate(self.ledger) if owner(row.path) == path)
        self.ledger[at] = replace(self.ledger[at], bytes=self.ledger[at].bytes + stored)

    def record(self, path: str, kind: str, kernel: str, node: str, weight: str, *, stored: int) -> None:
        """Enter a module in the ledger; ``stored`` is its size on disk in bytes."""
        precision = self.plan.of(path)
        values = self.weight(path)
        bias = self.bias(path)
        half = self.compute_type(precision) == FLOAT16
        compute = "int8" if kernel in _INT8_KERNELS and not half else "fp16" if half else "fp32"
        self.ledger.append(
            Written(
                path=path,
                kind=kind,
                storage=precision.storage,
                compute=compute,
                kernel=kernel,
                node=node,
                weight=weight,
                parameters=values.size + (0 if bias is None else bias.size),
                bytes=stored,
                sparsity=float(np.mean(self._as_stored(path, values) == 0)),
            )
        )

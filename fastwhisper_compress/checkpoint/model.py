"""The value every later stage starts from: dimensions, tensors, decoding ids and tokenizer of one Whisper."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.checkpoint.factors import factor_paths, is_factorised, owner
from fastwhisper_compress.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastwhisper_compress.checkpoint.decoding import Decoding
    from fastwhisper_compress.checkpoint.dims import Dims

_CHUNK = 1 << 22  # values widened to float32 at a time while hashing: 16 MiB


@dataclass(frozen=True)
class Source:
    """Where a checkpoint came from.

    Attributes:
        id: Model id, or the path as it was given.
        kind: ``huggingface``, ``openai`` or ``ctranslate2``.
        path: File or folder that was read.
        revision: Commit of the hub, or version of the weights package; None for local files.
    """

    id: str
    kind: str
    path: str
    revision: str | None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One Whisper in memory; never edited in place.

    Attributes:
        dims: Dimensions of the unpruned architecture.
        tensors: Canonical name to array, read-only and in the source's precision (bfloat16 widened to float32). A linear
            of low rank is two, see :mod:`fastwhisper_compress.checkpoint.factors`.
        decoding: Ids a decoder needs.
        tokenizer_json: A Hugging Face ``tokenizer.json``.
        source: Where it came from.
    """

    dims: Dims
    tensors: Mapping[str, np.ndarray]
    decoding: Decoding
    tokenizer_json: bytes
    source: Source

    @cached_property
    def digest(self) -> str:
        """Identity of the weights: dimensions, names, shapes and float32 values, not the file that held them."""
        sha = hashlib.sha256(json.dumps(asdict(self.dims), sort_keys=True).encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            sha.update(f"\n{name}{list(tensor.shape)}\n".encode())
            flat = tensor.reshape(-1)
            for start in range(0, flat.size, _CHUNK):
                sha.update(np.ascontiguousarray(flat[start : start + _CHUNK], dtype="<f4").data)
        return f"sha256:{sha.hexdigest()}"

    def factors(self, path: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the two factors of a linear, None where it is kept whole.

        Shapes: (rank, in) and (out, rank).
        """
        if not is_factorised(self.tensors, path):
            return None
        first, second = (self.tensors[f"{one}.weight"] for one in factor_paths(path))
        return first, second

    def weight(self, path: str) -> np.ndarray:
        """Return a module's weight, multiplied out where it is kept as two."""
        found = self.factors(path)
        if found is None:
            return self.tensors[f"{path}.weight"]
        product: np.ndarray = found[1].astype(np.float32) @ found[0].astype(np.float32)
        return product

    @property
    def n_parameters(self) -> int:
        """Number of stored values; the tied embedding counts once."""
        return sum(int(tensor.size) for tensor in self.tensors.values())

    def with_tensors(self, changed: Mapping[str, np.ndarray]) -> Checkpoint:
        """A new checkpoint with some tensors replaced; shapes may differ, as after structured pruning.

        Raises:
            UsageError: A name is not one of this checkpoint's tensors.
        """
        for name in changed:
            if name not in self.tensors:
                raise UsageError("no such tensor", place=name, remedy="use the canonical names of tensor_shapes(dims)")
        return replace(self, tensors={**self.tensors, **changed})

    def factorised(self, path: str, first: np.ndarray, second: np.ndarray) -> Checkpoint:
        """A new checkpoint with a linear kept as two.

        Args:
            path: The linear, whole so far.
            first: (rank, in), what the input is multiplied with.
            second: (out, rank), what comes next.

        Raises:
            UsageError: It is not among this checkpoint's tensors, or kept as two already.
        """
        name = f"{path}.weight"
        if name not in self.tensors:
            raise UsageError("no such tensor", place=name, remedy="factorise a linear that is still whole")
        factors = zip(factor_paths(path), (first, second), strict=True)
        kept = {other: tensor for other, tensor in self.tensors.items() if other != name}
        return replace(self, tensors=kept | {f"{one}.weight": tensor for one, tensor in factors})

    def multiplied_out(self) -> Checkpoint:
        """The same network with every linear whole again."""
        paths = [owner(name) for name in self.tensors if name.endswith(".low_rank.0.weight")]
        factors = {f"{one}.weight" for path in paths for one in factor_paths(path)}
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in factors}
        return replace(self, tensors=kept | {f"{path}.weight": self.weight(path) for path in paths})

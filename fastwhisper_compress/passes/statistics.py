"""What the inputs of the linears look like on calibration speech.

Linears of one input share its statistics, so these are kept by input. An input is named after the module that makes it
where that is a layer norm (``decoder.layers.0.self_attn_layer_norm`` feeds q, k and v), else after its one linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastwhisper_compress.checkpoint.dims import Dims, modules
from fastwhisper_compress.checkpoint.safetensors_file import write_safetensors
from fastwhisper_compress.recipe.layers import Kept, composed, original, renumbered

FILE = "inputs.safetensors"


@dataclass(frozen=True)
class Statistics:
    """Statistics of every input, read from disk when they are asked for: one can be 100 MB.

    Attributes:
        folder: Where :data:`FILE` lies.
        divisors: Input to the positive numbers, float32 (in,), that smoothing has divided its channels by.
        kept: Where layers were dropped, the numbers that those left have in the file.
    """

    folder: Path
    divisors: Mapping[str, np.ndarray] = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)

    def peak(self, source: str) -> np.ndarray:
        """Return the largest magnitude of each channel of an input: float32 (in,)."""
        peak = self._read(f"{source}.peak")
        return peak / self.divisors[source] if source in self.divisors else peak

    def mean(self, source: str) -> np.ndarray:
        """Return the mean of each channel of an input: float32 (in,)."""
        mean = self._read(f"{source}.mean")
        return mean / self.divisors[source] if source in self.divisors else mean

    def moment(self, source: str) -> np.ndarray:
        """Return the mean of ``x x^T`` over an input's positions: float32 (in, in)."""
        moment = self._read(f"{source}.moment")
        if source in self.divisors:
            moment = moment / np.outer(self.divisors[source], self.divisors[source])
        return moment

    def divided(self, divisors: Mapping[str, np.ndarray]) -> Statistics:
        """Return the statistics of inputs whose channels were divided."""
        merged = dict(self.divisors)
        for source, divisor in divisors.items():
            merged[source] = merged[source] * divisor if source in merged else divisor
        return replace(self, divisors=merged)

    def renumbered(self, kept: Kept) -> Statistics:
        """Return the statistics of the layers that stay, under their new numbers.

        They are those of the whole network, where these layers had the dropped ones before them.
        """
        divisors = {new: value for name, value in self.divisors.items() if (new := renumbered(name, kept))}
        return replace(self, divisors=divisors, kept=composed(self.kept, kept))

    def _read(self, name: str) -> np.ndarray:
        from safetensors import safe_open

        with safe_open(self.folder / FILE, framework="numpy") as file:
            found: np.ndarray = file.get_tensor(original(name, self.kept))
        return found


def input_of(path: str) -> str:
    """Return the name of the input of a linear, or of the logits for the tied embedding."""
    owner, _, leaf = path.rpartition(".")
    if path == "decoder.embed_tokens":
        return "decoder.layer_norm"
    if leaf == "fc1":
        return f"{owner}.final_layer_norm"
    if leaf in ("k_proj", "v_proj") and owner.endswith(".encoder_attn"):
        return "encoder.layer_norm"
    return f"{owner}_layer_norm" if leaf in ("q_proj", "k_proj", "v_proj") else path


def readers(dims: Dims) -> dict[str, list[str]]:
    """Return every input and the modules that multiply it, in graph order."""
    found: dict[str, list[str]] = {}
    for module in modules(dims):
        if module.kind in ("linear", "embedding"):
            found.setdefault(input_of(module.path), []).append(module.path)
    return found


def save(folder: Path, tensors: Mapping[str, Any]) -> None:
    """Write ``NAME.peak``, ``NAME.mean`` and ``NAME.moment`` of every input as :class:`Statistics` reads them."""
    write_safetensors(folder / FILE, tensors)

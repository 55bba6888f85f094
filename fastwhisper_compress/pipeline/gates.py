"""The least quality that is published, read from ``eval/gates``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.emit.precision import Precision
from fastwhisper_compress.resources import data_dir


@dataclass(frozen=True)
class Gates:
    """Limits and the clips they are checked on.

    Attributes:
        suite: Suite that the parity set is part of.
        clips: Ids of the utterances that make the parity set.
        agreement: Storage type to the least share of greedy tokens that must equal FP32's.
        fp32_error: Largest difference of an FP32 artifact from the reference, by part: ``log_mel`` and ``logits``, and
            ``encoder`` in shares of a channel's largest value where that is above 1.
    """

    suite: str
    clips: tuple[str, ...]
    agreement: Mapping[str, float]
    fp32_error: Mapping[str, float]

    def token_agreement(self, precision: Mapping[str, Precision]) -> float:
        """Return the least agreement for a set of precisions: that of the lowest one used."""
        return min([self.agreement[p.storage] for p in precision.values()], default=self.agreement["fp32"])


def load_gates(path: Path | None = None) -> Gates:
    """Read the shipped gates."""
    from ruamel.yaml import YAML

    raw: dict[str, Any] = YAML(typ="safe", pure=True).load(path or data_dir("eval") / "gates" / "default.yaml")
    return Gates(
        raw["parity_set"]["suite"], tuple(raw["parity_set"]["clips"]), raw["token_agreement"], raw["fp32_error"]
    )

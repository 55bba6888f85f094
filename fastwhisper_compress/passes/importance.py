"""How much attention heads and feed-forward channels matter on calibration speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastwhisper_compress.checkpoint.safetensors_file import write_safetensors
from fastwhisper_compress.recipe.layers import Kept, composed, original

if TYPE_CHECKING:
    import numpy as np

FILE = "importance.safetensors"


@dataclass(frozen=True)
class Importance:
    """Scores of a checkpoint's heads and channels.

    Attributes:
        folder: Where :data:`FILE` lies.
        kept: Where layers were dropped, the numbers that those left have in the file.
    """

    folder: Path
    kept: Kept = field(default_factory=dict)

    def of(self, path: str) -> np.ndarray:
        """Return the scores of an attention's heads, or of the channels that an ``fc1`` gives: float32 (n,)."""
        from safetensors import safe_open

        with safe_open(self.folder / FILE, framework="numpy") as file:
            found: np.ndarray = file.get_tensor(original(path, self.kept))
        return found

    def renumbered(self, kept: Kept) -> Importance:
        """Return the scores of the layers that stay, under their new numbers; they are those of the whole network."""
        return replace(self, kept=composed(self.kept, kept))


def save(folder: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Write scores by module path as :class:`Importance` reads them."""
    write_safetensors(folder / FILE, scores)

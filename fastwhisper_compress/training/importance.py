"""How much each attention head and feed-forward channel matters, to first order (Molchanov et al. 2019, Michel et al. 2019).

Without a head or channel its activations would be zero. The loss would then change by about the sum of activation times
gradient, over the positions of a clip; the score is the mean of its magnitude over clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.training.network import Network

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Heard:
    """A clip, and the text that the model itself hears in it.

    Attributes:
        mel: float32 (n_mels, frames).
        prompt: Tokens before the text.
        tokens: The text, its end not among them.
    """

    mel: np.ndarray
    prompt: Sequence[int]
    tokens: Sequence[int]


def importances(checkpoint: Checkpoint, clips: Iterable[Heard]) -> dict[str, np.ndarray]:
    """Score every head and channel.

    Returns:
        Path of an attention to the scores of its heads, and of an ``fc1`` to those of the channels that it gives:
        float32 (n,).
    """
    network = Network(checkpoint)
    scored = _scored(checkpoint)
    sums: dict[str, Tensor] = {}
    count = 0
    for clip in clips:
        count += 1
        for path, products in _products(network, clip, list(scored), checkpoint.decoding.eot).items():
            by_part = products.reshape(-1, scored[path]).sum(dim=1).abs()
            sums[path] = sums[path] + by_part if path in sums else by_part
    found: dict[str, np.ndarray] = {_judged(path): (total / count).numpy() for path, total in sums.items()}
    return found


def _products(network: Network, clip: Heard, paths: Sequence[str], eot: int) -> dict[str, Tensor]:
    """Return activation times gradient of the inputs of linears, summed over positions: float32 (in,)."""
    seen: dict[str, Tensor] = {}

    def see(path: str, x: Tensor) -> None:
        x.retain_grad()
        seen[path] = x

    tokens = torch.tensor([[*clip.prompt, *clip.tokens]])
    with network.watch(paths, see):
        hidden = network.encode(torch.from_numpy(clip.mel)[None])
        scores = network.decode(tokens, hidden)[0, len(clip.prompt) - 1 :]
    functional.cross_entropy(scores, torch.tensor([*clip.tokens, eot])).backward()  # type: ignore[no-untyped-call]
    network.zero_grad(set_to_none=True)
    return {path: _product(x) for path, x in seen.items()}


def _product(x: Tensor) -> Tensor:
    if x.grad is None:
        return x.new_zeros(x.shape[-1])
    return (x.detach() * x.grad).flatten(0, -2).sum(dim=0)


def _scored(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the linears whose inputs are heads and channels, and how many inputs make one of these."""
    found = {}
    for module in modules(checkpoint.dims):
        if module.kind == "attention":
            found[f"{module.path}.out_proj"] = checkpoint.dims.head_dim(module.path)
        elif module.path.endswith(".fc2"):
            found[module.path] = 1
    return found


def _judged(path: str) -> str:
    """Return what is pruned where the inputs of a linear go: an attention, or an ``fc1``."""
    return path.removesuffix(".out_proj") if path.endswith(".out_proj") else f"{path.removesuffix('fc2')}fc1"

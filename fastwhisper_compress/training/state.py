"""The state of a training on disk: whole or not at all, and enough to go on as if nothing had happened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fastwhisper_compress.training.network import Network

if TYPE_CHECKING:
    import numpy as np

FILE = "state.pt"


def save_state(
    folder: Path, step: int, network: Network, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> None:
    """Keep the state after a step in place of the one before."""
    draft = folder / f".{FILE}.draft"
    parts = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "scaler": scaler.state_dict()}
    with draft.open("wb") as file:
        torch.save({"step": step, **parts}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE)


def load_state(folder: Path, network: Network, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> int:
    """Take up the state that a folder holds; return after how many steps it was kept, 0 if there is none."""
    path = folder / FILE
    if not path.is_file():
        return 0
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    scaler.load_state_dict(state["scaler"])
    return int(state["step"])


def trained_tensors(folder: Path) -> dict[str, np.ndarray]:
    """Return the weights of the state in a folder, by their canonical names."""
    state: dict[str, Any] = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    return {name: value.numpy() for name, value in state["network"].items()}

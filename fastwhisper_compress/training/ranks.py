"""The processes that train together, each on its share of every batch (torchrun starts them and tells each its number)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


class Ranks:
    """This process among those that train together; alone unless torchrun says otherwise.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        device: What it computes on.
    """

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        self.device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
        if self.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if cuda else "gloo")

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def shared(self, module: nn.Module) -> nn.Module:
        """Return the module so that a backward pass leaves the mean gradient of all processes in each."""
        return DistributedDataParallel(module) if self.size > 1 else module

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of the values of all processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def unsynchronised(module: nn.Module, *, last: bool) -> Iterator[None]:
    """Let gradients add up in this process, and only with the last part of a batch become those of all."""
    if last or not isinstance(module, DistributedDataParallel):
        yield
        return
    with module.no_sync():
        yield

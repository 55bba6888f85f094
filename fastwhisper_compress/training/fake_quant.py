"""Modules that compute what the emitted kernels will, with gradients that pass straight through the rounding.

Weights are rounded as :mod:`fastwhisper_compress.emit.quantize` rounds them, to the same integers: a test holds both
together. Activations are rounded as ONNX Runtime's kernels do at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.precision import Plan, Precision
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.training.network import Fake

Round = Callable[[Tensor], Tensor]


@dataclass
class Rounded:
    """A module whose weight and input are rounded.

    Attributes:
        of_weight: How the weight is stored and read back.
        of_input: How the kernel rounds what it multiplies.
    """

    of_weight: Round
    of_input: Round
    _kept: tuple[tuple[int, int], Tensor] | None = field(default=None, init=False, repr=False)

    def weight(self, weight: Tensor) -> Tensor:
        """Return the weight as it is stored; it is rounded once for all batches that a step is made of."""
        state = (weight.data_ptr(), weight._version)  # noqa: SLF001 - counts the changes, and autograd relies on it
        if self._kept is None or self._kept[0] != state:
            with torch.no_grad():
                self._kept = state, self.of_weight(weight.detach())
        return through(weight, self._kept[1])

    def input(self, x: Tensor) -> Tensor:
        """Return the activations as the kernel rounds them."""
        with torch.no_grad():
            rounded = self.of_input(x.detach())
        return through(x, rounded)


def fakes_of(checkpoint: Checkpoint, plan: Plan) -> dict[str, Fake]:
    """Return how each module of a plan computes.

    Raises:
        RecipeError: A precision is found in a way that training cannot follow.
    """
    found: dict[str, Fake] = {}
    for module in modules(checkpoint.dims):
        precision = plan.of(module.path)
        if precision.scheme == "fp32" or not module.tensors:
            continue
        _check(module.path, precision)
        factors = [f"{module.path}.low_rank.{i}" for i in (0, 1)]
        whole = f"{module.path}.weight" in checkpoint.tensors
        for path in [module.path] if whole else factors:
            found[path] = _rounded(module.path, precision, plan)
    return found


def _check(path: str, precision: Precision) -> None:
    if precision.method != "nearest":
        raise RecipeError(
            f"qat trains for integers that are rounded to the nearest; the recipe has those of {precision.method}",
            place=path,
            remedy="set method: nearest in weight_only: qat takes the place of what calibration would win",
        )
    if precision.split_outliers:
        raise RecipeError(
            "qat does not know which channels will be split off",
            place=path,
            remedy="leave split_outliers out, or qat",
        )


def _rounded(path: str, precision: Precision, plan: Plan) -> Rounded:
    half = plan.provider == "cuda"
    if precision.scheme == "fp16":
        return Rounded(_half, _half if half else _as_is)
    if precision.scheme == "int8_dynamic":
        return Rounded(channels_int8, whole_uint8 if _hears_all(path) else rows_uint8)
    group = precision.group_size

    def blocks(weight: Tensor) -> Tensor:
        return blocks_of(weight, precision.bits, group, symmetric=precision.symmetric)

    if half:
        return Rounded(blocks, _half)
    # The plain spelling multiplies in FP32; the fused kernel rounds activations a block at a time.
    return Rounded(blocks, (lambda x: blocks_int8(x, group)) if path in plan.fuse else _as_is)


def _hears_all(path: str) -> bool:
    """Say whether a module is given a whole clip at once; the others are given a token at a time."""
    return path.startswith("encoder.") or path.endswith((".encoder_attn.k_proj", ".encoder_attn.v_proj"))


def channels_int8(weight: Tensor) -> Tensor:
    """Round as :func:`fastwhisper_compress.emit.quantize.per_channel_int8` does: (out, in) -> (out, in)."""
    tiny = torch.finfo(torch.float32).tiny * 127
    scale = _over(weight.abs().amax(dim=1, keepdim=True).clamp_min(tiny), 127)
    return torch.round(weight / scale) * scale


def blocks_of(weight: Tensor, bits: int, group_size: int, *, symmetric: bool) -> Tensor:
    """Round as :func:`fastwhisper_compress.emit.quantize.blockwise` does: (out, in) -> (out, in)."""
    blocks: Tensor = torch.unflatten(weight, 1, (-1, group_size))
    levels = 2**bits
    half = levels // 2
    if symmetric:
        size = blocks.abs()
        first = (size == size.amax(dim=2, keepdim=True)).to(torch.uint8).argmax(dim=2, keepdim=True)
        scale = (blocks.gather(2, first) / -half).half()
        zero = torch.full_like(scale, half, dtype=torch.float32)
    else:
        low, high = blocks.amin(dim=2, keepdim=True).clamp_max(0), blocks.amax(dim=2, keepdim=True).clamp_min(0)
        scale = _over(high - low, levels - 1).half()
        zero = torch.round(-low / _divisor(scale)).clamp(0, levels - 1)
    values = (torch.round(blocks / _divisor(scale)) + zero).clamp(0, levels - 1)
    stored: Tensor = (values - zero) * scale.float()
    return stored.flatten(1)


def whole_uint8(x: Tensor) -> Tensor:
    """Round to 8 bits with one scale for each clip, as DynamicQuantizeLinear does: (batch, n, in)."""
    return _dynamic(x, (1, 2))


def rows_uint8(x: Tensor) -> Tensor:
    """The same with a scale for each position: what a kernel sees that is given one token at a time."""
    return _dynamic(x, (-1,))


def blocks_int8(x: Tensor, group_size: int) -> Tensor:
    """Round to 8 bits with a scale for each block of a row, as MatMulNBits does at accuracy level 4: (..., in)."""
    blocks: Tensor = torch.unflatten(x, -1, (-1, group_size))
    scale = _over(blocks.abs().amax(dim=-1, keepdim=True), 127)
    inverse = torch.where(scale == 0, torch.zeros_like(scale), 1 / scale)
    return (torch.round(blocks * inverse) * scale).flatten(-2)


def through(x: Tensor, rounded: Tensor) -> Tensor:
    """Return ``rounded``, whose gradient is taken for that of ``x``."""
    found: Tensor = _Through.apply(x, rounded)  # type: ignore[no-untyped-call]
    return found


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, _x: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _dynamic(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    low, high = x.amin(dim=dims, keepdim=True).clamp_max(0), x.amax(dim=dims, keepdim=True).clamp_min(0)
    scale = _over(high - low, 255)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.round((-low / scale).clamp(0, 255))
    return ((torch.round(x / scale) + zero).clamp(0, 255) - zero) * scale


def _over(x: Tensor, number: int) -> Tensor:
    """Divide: by a plain number a GPU would multiply with its inverse, which is not the same in the last bit."""
    return x / x.new_tensor(float(number))


def _divisor(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, torch.ones_like(scale), scale).float()


def _half(x: Tensor) -> Tensor:
    return x.half().to(x.dtype)


def _as_is(x: Tensor) -> Tensor:
    return x

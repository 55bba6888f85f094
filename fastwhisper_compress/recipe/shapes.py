"""The passes that change shapes: parts leave the network, or a weight becomes two smaller ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from fastwhisper_compress.recipe.base import BasePass, Misfit, ModuleLike, TargetedPass
from fastwhisper_compress.recipe.layers import counted, renumbered, spread


class Prune(TargetedPass):
    """Remove what matters least: single weights, or whole attention heads or FFN channels."""

    kinds = frozenset({"linear", "attention"})
    stage = "weights"

    pass_: Literal["prune"] = Field(default="prune", alias="pass")
    method: Literal["l1", "taylor"] = Field(
        default="l1",
        description="How importance is judged. l1: the sum of absolute values. taylor: how much the loss on calibration "
        "speech would change without the head or channel, to first order; it calibrates.",
    )
    granularity: Literal["unstructured", "2:4", "heads", "ffn"] = Field(
        description="What is removed: single weights (set to zero), two of every four neighbours (likewise), whole "
        "attention heads, or whole channels of the feed-forward layers (these two make the tensors smaller)."
    )
    amount: float = Field(gt=0, lt=1, description="The share to remove, above 0 and below 1; of 2:4 it is 0.5.")

    @property
    def calibrated(self) -> bool:
        """Whether importance is judged by what the parts do on speech."""
        return self.method == "taylor"

    @field_validator("granularity")
    @classmethod
    def _judged_whole(cls, granularity: str, info: ValidationInfo) -> str:
        if info.data.get("method") == "taylor" and granularity not in ("heads", "ffn"):
            raise ValueError("must be heads or ffn where the method is taylor, which does not judge single weights")
        return granularity

    @field_validator("amount")
    @classmethod
    def _half(cls, amount: float, info: ValidationInfo) -> float:
        if info.data.get("granularity") == "2:4" and amount != 0.5:
            raise ValueError("must be 0.5 where the granularity is 2:4: two of four are removed")
        return amount

    def takes(self, module: ModuleLike) -> bool:
        """Heads are removed from attentions, channels from the first feed-forward layer, weights from any linear."""
        if self.granularity == "heads":
            return module.kind == "attention"
        is_linear = module.kind == "linear"
        return is_linear and module.path.endswith(".fc1") if self.granularity == "ffn" else is_linear


class LowRank(TargetedPass):
    """Replace linears by two smaller ones where what they give out on speech lies in few directions."""

    kinds = frozenset({"linear"})
    stage = "weights"

    pass_: Literal["low_rank"] = Field(default="low_rank", alias="pass")
    variance: float = Field(
        gt=0,
        lt=1,
        description="The share of the variance of each module's output on calibration speech to keep, above 0 and below "
        "1; the rank follows. A module stays whole where two factors would not be smaller.",
    )
    multiple_of: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Ranks are rounded up to a multiple of this; group_size of weight_only must divide it.",
    )

    @property
    def calibrated(self) -> bool:
        """It always is: the directions that matter are those of activations."""
        return True


def _ascending(numbers: list[int]) -> list[int]:
    if any(one >= other for one, other in pairwise(numbers)):
        raise ValueError("must be ascending, each layer once: layers keep their order")
    return numbers


LayerNumber = Annotated[int, Field(ge=0)]
Layers = Annotated[list[LayerNumber], Field(min_length=1, max_length=256), AfterValidator(_ascending)]


_LEAST_TO_HALVE = 4


class DropLayers(BasePass):
    """Keep only some layers, as distil-whisper does of the decoder; later passes know them by their new numbers."""

    kinds = frozenset({"linear", "layer_norm", "attention"})
    stage = "weights"

    pass_: Literal["drop_layers"] = Field(default="drop_layers", alias="pass")
    encoder_keep: Layers | None = Field(
        default=None, description="Numbers of the encoder layers to keep, from 0 and ascending; without it, all."
    )
    decoder_keep: Layers | None = Field(
        default=None, description="Numbers of the decoder layers to keep, from 0 and ascending; without it, all."
    )
    halve: Literal["encoder", "decoder"] | None = Field(
        default=None,
        description="Keep half of this side's layers, of which there must be four at least: the first, the last and others as "
        "far apart as can be. Instead of naming numbers, which differ from model to model.",
    )

    def kept(self, depths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Return the layers to keep of ``encoder`` and ``decoder``, where not all are, by how many there are of each."""
        found = {"encoder": self.encoder_keep, "decoder": self.decoder_keep}
        kept = {side: tuple(numbers) for side, numbers in found.items() if numbers is not None}
        if self.halve is not None:
            kept[self.halve] = spread(depths[self.halve])
        return kept

    def acts_on(self, modules: Sequence[ModuleLike]) -> list[ModuleLike]:
        """It acts on what it drops."""
        kept = self.kept(counted(modules))
        return [one for one in modules if self.takes(one) and renumbered(one.path, kept) is None]

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.halve is not None and getattr(self, f"{self.halve}_keep") is not None:
            raise ValueError(f"halve says which layers of the {self.halve} are kept, and so does {self.halve}_keep")
        return self

    def misfits(self, modules: Sequence[ModuleLike]) -> list[Misfit]:
        """Return the layers that the model does not have, or that nothing would be dropped."""
        found = []
        there = counted(modules)
        if self.halve is not None and there[self.halve] < _LEAST_TO_HALVE:
            message = f"the {self.halve} has {there[self.halve]} layers, too few to leave the first, the last and no more than half"
            return [Misfit(("halve",), message, f"name the layers to keep in {self.halve}_keep, or remove the pass")]
        for side, numbers in self.kept(there).items():
            count = there[side]
            for entry, number in enumerate(numbers):
                if number >= count:
                    message = f"there is no layer {number} in the {side}, which has {count}"
                    remedy = f"give numbers from 0 to {count - 1}"
                    found.append(Misfit((f"{side}_keep", entry), message, remedy))
        if not found and not self.acts_on(modules):
            remedy = "leave some layers out of encoder_keep or decoder_keep, or remove the pass"
            found.append(Misfit((), "drop_layers keeps every layer", remedy))
        return found

    def leaves(self, modules: Sequence[ModuleLike]) -> Sequence[ModuleLike]:
        """Return the modules that are left, under their new numbers."""
        kept = self.kept(counted(modules))
        paths = [(renumbered(one.path, kept), one.kind) for one in modules]
        return [_Left(path, kind) for path, kind in paths if path is not None]


@dataclass(frozen=True)
class _Left:
    path: str
    kind: str

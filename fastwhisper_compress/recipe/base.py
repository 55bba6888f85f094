"""What every pass of a recipe is: a frozen pydantic model that says what it does, and to which modules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from fastwhisper_compress.recipe.patterns import REGEX, whole_match

Stage = Literal["weights", "precision", "graph"]


class ModuleLike(Protocol):
    """A module of the network, as far as a recipe needs to know it."""

    @property
    def path(self) -> str:
        """Its dotted name, such as ``encoder.layers.0.fc1``."""

    @property
    def kind(self) -> str:
        """What it is: ``linear``, ``embedding``, ``conv``, ``layer_norm``, ``positions`` or ``attention``."""


def _checked_pattern(pattern: str) -> str:
    """Refuse a regular expression that does not compile while its line and column are still known."""
    if pattern.startswith(REGEX):
        try:
            whole_match(pattern)
        except ValueError as error:
            raise ValueError(f"{pattern!r} is not a regular expression that can be used: {error}") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_checked_pattern)]


def _checked_whole_number(value: object) -> object:
    """A Literal compares by ``==``, which ``True`` and ``8.0`` would pass."""
    if type(value) is not int:
        raise ValueError(f"must be a whole number, not {json.dumps(value, default=str)}")
    return value


WholeNumber = BeforeValidator(_checked_whole_number)


def _pass_is_required(schema: dict[str, Any]) -> None:
    """In Python the pass name follows from the class; in a file it must be written."""
    schema["required"] = ["pass", *schema.get("required", [])]
    schema["properties"]["pass"].pop("default", None)


class StrictModel(BaseModel):
    """Takes no key that it does not know, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, serialize_by_alias=True)


@dataclass(frozen=True)
class Misfit:
    """A setting that a model cannot honour.

    Attributes:
        setting: Its keys, from the pass on.
        message: What is wrong.
        remedy: What to do about it.
    """

    setting: tuple[str | int, ...]
    message: str
    remedy: str


class BasePass(StrictModel):
    """One step of a recipe."""

    model_config = ConfigDict(json_schema_extra=_pass_is_required)

    kinds: ClassVar[frozenset[str]]
    """Kinds of module that the pass can act on; :meth:`takes` may narrow it further."""
    stage: ClassVar[Stage]

    pass_: str = Field(alias="pass")
    only_on: Literal["cpu", "cuda"] | None = Field(
        default=None, description="Run the pass only where the artifact is for this provider; without it, always."
    )

    def takes(self, module: ModuleLike) -> bool:
        """Whether the pass can act on this module at all."""
        return module.kind in self.kinds

    def acts_on(self, modules: Sequence[ModuleLike]) -> list[ModuleLike]:
        """Return those of a model's modules that the pass can act on."""
        return [module for module in modules if self.takes(module)]

    def runs_on(self, provider: str) -> bool:
        """Whether the pass has a part in an artifact for this provider."""
        return self.only_on in (None, provider)

    @property
    def calibrated(self) -> bool:
        """Whether the pass needs to know what activations look like."""
        return False

    def misfits(self, modules: Sequence[ModuleLike]) -> list[Misfit]:  # noqa: ARG002 - for those that override it
        """Return what of the pass does not fit a model of these modules."""
        return []

    def leaves(self, modules: Sequence[ModuleLike]) -> Sequence[ModuleLike]:
        """Return the modules that are there after the pass, as later ones know them."""
        return modules


class TargetedPass(BasePass):
    """A step that acts on the modules that ``targets`` select and ``ignore`` does not."""

    targets: list[Pattern] = Field(
        default=["*"],
        min_length=1,
        max_length=256,
        description="Module paths to act on: globs, where * spans dots, or regular expressions after 're:'. "
        "A pattern also selects everything below the path it matches.",
    )
    ignore: list[Pattern] = Field(
        default=[], max_length=256, description="Module paths to leave out, written as in targets."
    )

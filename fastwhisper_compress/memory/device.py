"""What a device can hold and how fast it is: figures, and for each of them where it comes from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Kind = Literal["cuda", "cpu"]
Arithmetic = Literal["fp32", "fp16", "bf16", "int8"]
Isa = Literal["avx2", "avx512", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "neon", "dotprod", "i8mm"]

FIGURES = ("memory_bytes", "reserved_bytes", "bandwidth_bytes_per_s", "fp32", "fp16", "bf16", "int8")
"""The figures of every device; one more says what instructions it has."""

_Rate = Annotated[float, Field(gt=0, le=1e18)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Peak(_Model):
    """Operations per second at best: dense (without structured sparsity), a multiplication and an addition being two."""

    fp32: _Rate | None = Field(description="FP32 FLOP/s outside tensor cores; null if unknown.")
    fp16: _Rate | None = Field(
        description="FP16 FLOP/s, of tensor cores (sums in FP32) if it has them; null if unsupported or unknown."
    )
    bf16: _Rate | None = Field(description="BF16 FLOP/s, likewise.")
    int8: _Rate | None = Field(description="INT8 operations/s, sums in INT32; null if there is no fast way to do them.")


class Device(_Model):
    """One device: a GPU, or the processor of a host."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40, description="Short name, such as t4.")
    title: str = Field(min_length=1, max_length=120, description="The name a person would use.")
    aliases: list[Annotated[str, Field(min_length=1, max_length=80)]] = Field(
        max_length=32, description="Other names it is found by; case, punctuation and the maker's name never matter."
    )
    kind: Kind = Field(description="cuda: an NVIDIA GPU; cpu: the processor of a host.")
    memory_bytes: int = Field(
        gt=0, le=2**50, description="Memory in bytes. The GB of GPU makers are GiB: 16 GB is 17179869184."
    )
    memory_kind: str | None = Field(
        min_length=1, max_length=80, description="Kind of memory, such as GDDR6, HBM2e or LPDDR5; null if unknown."
    )
    unified: bool = Field(description="Whether the memory is the processor's own, so that the system lives in it too.")
    reserved_bytes: int = Field(
        ge=0, le=2**50, description="Bytes of memory gone before a model is loaded: error correction, driver, system."
    )
    bandwidth_bytes_per_s: _Rate | None = Field(
        description="Bytes read and written per second at best; null if unknown."
    )
    peak: Peak = Field(description="Operations per second at best, dense, by arithmetic.")
    fast_fp16: bool | None = Field(description="Whether FP16 arithmetic is faster than FP32; null if unknown.")
    compute_capability: str | None = Field(
        default=None, pattern=r"^[0-9]{1,2}\.[0-9]$", description="CUDA compute capability, quoted; of GPUs only."
    )
    isa: list[Isa] | None = Field(
        default=None, max_length=16, description="Vector extensions of a cpu that matter for matrix products."
    )
    sources: dict[str, Annotated[str, Field(min_length=1, max_length=400)]] = Field(
        description="Figure to where it comes from. Starts with 'computed', 'measured' or 'assumption' if it is that."
    )
    why: dict[str, Annotated[str, Field(min_length=1, max_length=400)]] = Field(
        default={}, description="Figure that is null to the reason."
    )
    available_bytes: int | None = Field(
        default=None, ge=0, description="Bytes that were free when the present machine was read; null for profiles."
    )

    def flops(self, precision: Arithmetic) -> float | None:
        """Dense operations per second in ``precision``, None if there is no such arithmetic or nobody knows."""
        rate: float | None = getattr(self.peak, precision)
        return rate

    @property
    def figures(self) -> dict[str, Any]:
        """Every figure by the name that its source stands under."""
        extra = "compute_capability" if self.kind == "cuda" else "isa"
        return {name: getattr(self.peak if hasattr(self.peak, name) else self, name) for name in (*FIGURES, extra)}

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        foreign = "isa" if self.kind == "cuda" else "compute_capability"
        if getattr(self, foreign) is not None:
            raise _problem(f"a device of kind {self.kind} has no {foreign!r}", foreign)
        for name, value in self.figures.items():
            told, other = ("why", "sources") if value is None else ("sources", "why")
            if name not in getattr(self, told):
                raise _problem(
                    f"the figure {name!r} is {_shown(value)}, but {told!r} does not say {_told_of(told)}", told
                )
            if name in getattr(self, other):
                raise _problem(
                    f"the figure {name!r} is {_shown(value)} and stands under {other!r} all the same", other, name
                )
        for told in ("sources", "why"):
            for name in getattr(self, told):
                if name not in self.figures:
                    raise _problem(f"{told!r} speaks of {name!r}, which is no figure of it", told, name)
        if self.reserved_bytes >= self.memory_bytes:
            raise _problem(f"'reserved_bytes' leaves nothing of the {self.memory_bytes:,} bytes", "reserved_bytes")
        fp32, fp16 = self.peak.fp32, self.peak.fp16
        if fp32 and fp16 and self.fast_fp16 != (fp16 > fp32):
            raise _problem(f"'fast_fp16' contradicts an FP16 peak of {fp16:g} beside {fp32:g} in FP32", "fast_fp16")
        return self


def _told_of(mapping: str) -> str:
    """What the mapping ``sources`` or ``why`` tells of a figure."""
    return "where it comes from" if mapping == "sources" else "why"


def _shown(value: object) -> str:
    return "null" if value is None else "given"


def _problem(message: str, *at: str) -> PydanticCustomError:
    """An error that names the key it is about, for whoever knows on which line that stands."""
    return PydanticCustomError("device", "{message}", {"message": message, "at": at})

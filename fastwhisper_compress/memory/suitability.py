"""Where a precision gains nothing on a device, or less than people expect."""

from __future__ import annotations

from collections.abc import Iterable

from fastwhisper_compress.memory.device import Device

_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm"}
"""Extensions that multiply 8-bit numbers and add the products in one instruction, without overflow."""


def warnings_for(device: Device, precisions: Iterable[str]) -> list[str]:
    """Return a sentence for each precision of a recipe that the device gains little or nothing by.

    Args:
        device: The device.
        precisions: Schemes of the recipe: ``fp16``, ``bf16``, ``int8_dynamic``, ``weight_only``. There is nothing to say
            of others.
    """
    asked = dict.fromkeys(precisions)
    return [text for scheme in asked if scheme in _JUDGES and (text := _JUDGES[scheme](device)) is not None]


def _fp16(device: Device) -> str | None:
    if device.kind == "cpu":
        return f"{device.title}: FP16 is only stored, not computed in; it halves the file, and gains no time"
    if device.fast_fp16 is None:
        return f"{device.title}: it is not known whether FP16 is faster than FP32 here"
    if device.fast_fp16:
        return None
    fp32, fp16 = device.flops("fp32"), device.flops("fp16")
    rate = f" (1/{fp32 / fp16:.0f} of the rate of FP32)" if fp32 and fp16 else ""
    return f"{device.title}: FP16 arithmetic is slow{rate}; it saves memory, and costs time"


def _bf16(device: Device) -> str | None:
    if device.flops("bf16") is not None:
        return None
    return f"{device.title}: no BF16 arithmetic ({device.why['bf16']})"


def _int8_dynamic(device: Device) -> str | None:
    if device.kind == "cuda":
        return f"{device.title}: ONNX Runtime has no CUDA kernel for int8_dynamic; use fp16 or weight_only"
    if device.isa is None:
        return f"{device.title}: it is not known whether the processor has 8-bit dot products, which int8_dynamic needs"
    if _DOT_PRODUCTS & set(device.isa):
        return None
    return (
        f"{device.title}: without 8-bit dot products (VNNI, AMX, dotprod) int8_dynamic saves memory, not time: measure "
        "whether it is faster than FP32"
    )


def _weight_only(device: Device) -> str | None:
    if device.kind == "cpu":
        return None
    return (
        f"{device.title}: weight_only saves memory on CUDA, but weights are expanded to FP16 before they are used; "
        "it is faster than fp16 only at small batches"
    )


_JUDGES = {"fp16": _fp16, "bf16": _bf16, "int8_dynamic": _int8_dynamic, "weight_only": _weight_only}

"""How fast a device could be at best: the roofline model (Williams et al. 2009) over the two phases of Whisper.

A phase takes at least as long as its arithmetic at the device's peak, and at least as long as its bytes at the device's
bandwidth. Real kernels reach a part of either; what this tells is which of the two binds, and what no tuning can beat.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from fastwhisper_compress.memory.device import Arithmetic, Device
from fastwhisper_compress.memory.layout import Layout
from fastwhisper_compress.memory.weights import graph_of, resident_bytes
from fastwhisper_compress.memory.working_set import Workload, audio_length, cross_cache_bytes, self_cache_bytes

_TOKENS_A_SECOND = 3.5  # of English speech, by the recordings that the recipes are measured on


@dataclass(frozen=True)
class Bound:
    """The least time of a phase for a whole batch.

    Attributes:
        arithmetic_s: Operations at peak rate; None where the device's rate is not known.
        memory_s: Bytes at full bandwidth; None likewise.
    """

    arithmetic_s: float | None
    memory_s: float | None

    @property
    def least_s(self) -> float | None:
        """The longer of the two, None unless both are known."""
        if self.arithmetic_s is None or self.memory_s is None:
            return None
        return max(self.arithmetic_s, self.memory_s)

    @property
    def binds(self) -> str | None:
        """What limits the phase: ``arithmetic`` or ``memory``."""
        if self.arithmetic_s is None or self.memory_s is None:
            return None
        return "arithmetic" if self.arithmetic_s > self.memory_s else "memory"


@dataclass(frozen=True)
class Roofline:
    """Bounds of one workload on one device.

    Attributes:
        encode: The encoder, once for the batch.
        step: One token of every row of the batch.
        tokens: How many steps a clip of that length takes, about.
        rtfx: Most seconds of audio that can be transcribed in a second, None where the device's figures are not known.
    """

    encode: Bound
    step: Bound
    tokens: int
    rtfx: float | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        found = asdict(self)
        for name, bound in (("encode", self.encode), ("step", self.step)):
            found[name] |= {"least_s": bound.least_s, "binds": bound.binds}
        return found


def roofline(layout: Layout, work: Workload, device: Device) -> Roofline:
    """Bound the times of an artifact on a device."""
    dims, length, rows = layout.dims, audio_length(layout, work), work.batch * work.beam
    operations: dict[str, dict[Arithmetic, float]] = {"encode": {}, "step": {}}
    weights = {"encode": 0, "step": 0}
    for module, precision in layout.modules():
        if module.kind not in ("linear", "conv", "embedding"):
            continue
        phase = "encode" if graph_of(module.path) == "encoder" else "step"
        times = work.batch * length * (2 if module.path == "encoder.conv1" else 1) if phase == "encode" else rows
        on_cpu = layout.plan.provider == "cpu"  # which has no convolution in any other type
        arithmetic = _arithmetic(layout, "fp32" if module.kind == "conv" and on_cpu else precision.scheme, device)
        n = 2 * math.prod(layout.shapes[module.tensors[0]]) * times
        operations[phase][arithmetic] = operations[phase].get(arithmetic, 0) + n
        size = resident_bytes(layout, module, precision)
        weights[phase] += size // (2 if module.kind == "embedding" and layout.plan.provider == "cuda" else 1)
    attention: Arithmetic = "fp16" if layout.plan.kv_dtype == "fp16" else "fp32"
    over_audio = sum(layout.width(f"encoder.layers.{i}.self_attn") for i in range(dims.encoder_layers))
    _add(operations["encode"], attention, 4 * work.batch * length * length * over_audio)
    caches = cross_cache_bytes(layout, work)
    to_audio = sum(layout.width(f"decoder.layers.{i}.encoder_attn") for i in range(dims.decoder_layers))
    _add(operations["step"], attention, 4 * rows * length * to_audio)
    tokens = max(1, round(_TOKENS_A_SECOND * work.audio_s))
    text = self_cache_bytes(layout, work) // 2  # half full on average
    stream = 10 * work.batch * length * dims.d_model * 4 * dims.encoder_layers
    encode = _bound(operations["encode"], weights["encode"] + stream + caches, device)
    step = _bound(operations["step"], weights["step"] + caches + text, device)
    rtfx = None
    if encode.least_s is not None and step.least_s is not None:
        rtfx = work.batch * work.audio_s / (encode.least_s + tokens * step.least_s)
    return Roofline(encode, step, tokens, rtfx)


def _arithmetic(layout: Layout, scheme: str, device: Device) -> Arithmetic:
    """Return what a kernel computes in: on a CPU, FP16 is expanded and 8 bits are used where there are instructions."""
    if layout.plan.provider == "cuda":
        return "fp16" if scheme in ("fp16", "weight_only") else "fp32"
    quantised = scheme in ("int8_dynamic", "weight_only")
    return "int8" if quantised and device.flops("int8") is not None else "fp32"


def _add(operations: dict[Arithmetic, float], arithmetic: Arithmetic, n: float) -> None:
    operations[arithmetic] = operations.get(arithmetic, 0) + n


def _bound(operations: dict[Arithmetic, float], moved: float, device: Device) -> Bound:
    arithmetic: float | None = 0.0
    for kind, n in operations.items():
        rate = device.flops(kind)
        arithmetic = None if rate is None or arithmetic is None else arithmetic + n / rate
    bandwidth = device.bandwidth_bytes_per_s
    return Bound(arithmetic, None if bandwidth is None else moved / bandwidth)

"""Raw audio to log-mel as an ONNX graph, so that an artifact needs no feature extractor (openai-whisper's audio.py).

The short-time Fourier transform is two matrix products. A frame is folded about its centre first: cosines are even
and sines odd, so half the multiplications suffice, and fewer terms also round less.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastwhisper_compress.emit.graph import FLOAT, INT64, Graph

SAMPLE_RATE = 16_000  # Hz
N_FFT = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
_FLOOR = 1e-10  # power below which a mel bin counts as silent


def write_log_mel(g: Graph, n_mels: int, n_frames: int) -> None:
    """Write the graph.

    Shapes: input ``audio`` float32 (batch, samples), 16 kHz, any length: cut or filled with silence to ``n_frames``
    hops of 10 ms; output ``mel`` float32 (batch, n_mels, n_frames).
    """
    audio = g.input("audio", FLOAT, ["batch", "samples"])
    frames, count = _frames(g, audio, n_frames)
    mel = g.node(
        "MatMul", [_power(g, frames), g.tensor("mel.filters", mel_filters(n_mels).T)], "mel.energy", "mel.energy"
    )
    clipped = g.node("Max", [mel, g.const(_FLOOR, FLOAT)], "mel.clipped", "mel.clip")
    nats = g.node("Log", [clipped], "mel.nats", "mel.log")
    bels = g.node("Mul", [nats, g.const(1 / np.log(10), FLOAT)], "mel.bels", "mel.log10")
    turned = g.node("Transpose", [bels], "mel.by_bin", "mel.by_bin", perm=[0, 2, 1])

    # Frames behind the audio are silent: they need no transform.
    missing = g.node("Sub", [g.const([n_frames]), count], "mel.missing", "mel.missing", dtype=INT64)
    pads = g.node("Concat", [g.const([0] * 5), missing], "mel.pads", "mel.pads", dtype=INT64, axis=0)
    full = g.node("Pad", [turned, pads, g.const(np.log10(_FLOOR), FLOAT)], "mel.full", "mel.pad")
    peak = g.node("ReduceMax", [full, g.const([1, 2])], "mel.peak", "mel.peak", keepdims=1)
    floor = g.node("Sub", [peak, g.const(8.0, FLOAT)], "mel.floor", "mel.floor")
    limited = g.node("Max", [full, floor], "mel.limited", "mel.limit")
    shifted = g.node("Add", [limited, g.const(4.0, FLOAT)], "mel.shifted", "mel.shift")
    scaled = g.node("Div", [shifted, g.const(4.0, FLOAT)], "mel.scaled", "mel.scale")
    g.output("mel", scaled, FLOAT, ["batch", n_mels, n_frames])


def mel_filters(n_mels: int) -> np.ndarray:
    """Return triangular mel filters on Slaney's scale, normalised by area (as librosa.filters.mel does by default).

    Shapes: float32 (n_mels, 201).
    """
    hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    bins = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    rising = (bins - hz[:-2, None]) / np.diff(hz)[:-1, None]
    falling = (hz[2:, None] - bins) / np.diff(hz)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (hz[2:] - hz[:-2]))[:, None], dtype=np.float32)


_LINEAR_HZ_PER_MEL = 200 / 3  # below 1 kHz the scale is linear, above it logarithmic
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)  # only asked above the break


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)


def _frames(g: Graph, audio: str, n_frames: int) -> tuple[str, str]:
    """Cut the audio into overlapping frames centred on every 160th sample.

    Returns:
        float32 (batch, frames, 400) and the number of frames, int64 (1,): those that touch the audio, at most ``n_frames``.
    """

    def step(op: str, inputs: list[str], label: str, **attributes: Any) -> str:
        integer = label in ("samples", "kept", "reach", "whole", "count", "pads", "missing", "wide", "span", "two")
        return g.node(op, inputs, f"frames.{label}", f"frames.{label}", dtype=INT64 if integer else FLOAT, **attributes)

    cut = step("Slice", [audio, g.const([0]), g.const([n_frames * HOP]), g.const([1])], "cut")
    samples = step("Shape", [cut], "samples", start=1, end=2)
    missing = step("Sub", [g.const([n_frames * HOP]), samples], "missing")
    pads = step("Concat", [g.const([0, 0, 0]), missing], "pads", axis=0)
    filled = step("Pad", [cut, pads, g.const(0.0, FLOAT)], "filled")
    centred = step("Pad", [filled, g.const([0, N_FFT // 2, 0, N_FFT // 2])], "centred", mode="reflect")

    reach = step("Add", [samples, g.const([N_FFT // 2 + 2 * HOP - 1])], "reach")
    whole = step("Div", [reach, g.const([HOP])], "whole")
    count = step("Min", [whole, g.const([n_frames])], "count")
    # A frame is two hops and a half: lay the audio out in hops and put each beside its two followers.
    wide = step("Add", [count, g.const([2])], "wide")
    span = step("Mul", [wide, g.const([HOP])], "span")
    used = step("Slice", [centred, g.const([0]), span, g.const([1])], "used")
    hops = step("Reshape", [used, g.const([0, -1, HOP])], "hops")
    first = step("Slice", [hops, g.const([0]), count, g.const([1])], "first")
    one_on = step("Add", [count, g.const([1])], "two")
    second = step("Slice", [hops, g.const([1]), one_on, g.const([1])], "second")
    third = step("Slice", [hops, g.const([2, 0]), g.const([2**31 - 1, N_FFT - 2 * HOP]), g.const([1, 2])], "third")
    return step("Concat", [first, second, third], "all", axis=-1), count


def _power(g: Graph, frames: str) -> str:
    """Return the power spectrum of Hann-windowed frames: float32 (batch, frames, 400) -> (batch, frames, 201)."""
    half = N_FFT // 2
    n, k = np.arange(N_FFT)[:, None], np.arange(half + 1)[None, :]
    window = np.sin(np.pi * n / N_FFT) ** 2  # periodic Hann; its first sample is zero
    angle = 2 * np.pi * ((n * k) % N_FFT) / N_FFT  # reduced first, so that it keeps its digits
    cosines = (window * np.cos(angle))[1 : half + 1]
    sines = (window * np.sin(angle))[1:half]

    def part(label: str, start: int, stop: int, step: int) -> str:
        ends = [g.const([start]), g.const([stop]), g.const([2]), g.const([step])]
        return g.node("Slice", [frames, *ends], f"fold.{label}", f"fold.{label}")

    left, centre, right = (
        part("left", 1, half, 1),
        part("centre", half, half + 1, 1),
        part("right", N_FFT - 1, half, -1),
    )
    total = g.node("Add", [left, right], "fold.even_part", "fold.even_part")
    even = g.node("Concat", [total, centre], "fold.even", "fold.even", axis=-1)
    odd = g.node("Sub", [left, right], "fold.odd", "fold.odd")
    squares = []
    for label, folded, basis in (("real", even, cosines), ("imaginary", odd, sines)):
        product = g.node(
            "MatMul", [folded, g.tensor(f"dft.{label}", basis.astype(np.float32))], f"dft.{label}.out", f"dft.{label}"
        )
        squares.append(g.node("Mul", [product, product], f"dft.{label}.square", f"dft.{label}.square"))
    return g.node("Add", squares, "dft.power", "dft.power")

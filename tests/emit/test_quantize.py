"""Quantised numbers: what every scheme promises about them, and that ONNX Runtime's own quantiser makes the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.capi import _pybind_state as ort_quantiser

from fastwhisper_compress.emit.quantize import blockwise, pack4, per_channel_int8


def weights(out, width, seed=0):
    """Gaussian with outliers, an all-zero row and an all-zero block: what trained and pruned layers hold."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.05, (out, width)).astype(np.float32)
    weight[rng.integers(out, size=8), rng.integers(width, size=8)] *= 20
    weight[0] = 0
    weight[1, :16] = 0
    return weight


def dequantised(blocks, group_size):
    centred = blocks.values.astype(np.float32) - np.repeat(blocks.zero, group_size, axis=1)
    return centred * np.repeat(blocks.scale.astype(np.float32), group_size, axis=1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("width", "group_size"), [(256, 32), (96, 16), (1024, 128)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_blocks_are_those_of_onnx_runtimes_quantiser(bits, width, group_size, symmetric):
    weight = weights(128, width)
    blocks = blockwise(weight, bits, group_size, symmetric=symmetric)
    count = width // group_size
    packed = np.zeros((128, count, group_size * bits // 8), np.uint8)
    scale = np.zeros(128 * count, np.float32)
    zero = np.zeros((128, -(-count * bits // 8)), np.uint8)
    quantise = {4: ort_quantiser.quantize_matmul_4bits, 8: ort_quantiser.quantize_matmul_8bits}[bits]
    quantise(packed, np.ascontiguousarray(weight.T), scale, zero, group_size, 128, width, symmetric)

    np.testing.assert_allclose(blocks.scale.reshape(-1), scale, rtol=2**-10)  # ours are FP16
    nonzero = blocks.scale != 0  # an all-zero block may hold any zero point
    theirs = _unpacked(packed.reshape(128, -1), bits).astype(int)
    # Its scales are not rounded to FP16: a value near the edge of two integers may take either.
    off = np.abs(blocks.values.astype(int) - theirs)[np.repeat(nonzero, group_size, axis=1)]
    assert off.max() <= (1 if symmetric else 2)
    assert np.mean(off != 0) < (0.01 if bits == 4 else 0.06)
    if not symmetric:
        off = np.abs(blocks.zero.astype(int) - _unpacked(zero, bits)[:, :count])[nonzero]
        assert off.max() <= 1
        assert np.mean(off != 0) < 0.05


def _unpacked(packed, bits):
    return packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)


@given(
    bits=st.sampled_from([4, 8]),
    group_size=st.sampled_from([16, 32, 64]),
    symmetric=st.booleans(),
    scale=st.floats(0.5, 1e4),  # far below that, the FP16 scale of an 8-bit block has fewer digits
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_no_weight_moves_further_than_its_block_allows(bits, group_size, symmetric, scale, seed):
    weight = weights(16, 128, seed) * np.float32(scale)
    blocks = blockwise(weight, bits, group_size, symmetric=symmetric)
    step = np.repeat(np.abs(blocks.scale), group_size, axis=1)
    # Half a step of rounding; a symmetric block has one level less on the side away from its peak, and zero points
    # are rounded themselves. FP16 rounds the scale by up to 2^-11, which at the end of the range counts half the levels.
    most = 1 + 2 ** (bits - 1) * 2**-11
    assert np.all(np.abs(dequantised(blocks, group_size) - weight) <= step * most)
    assert np.all(dequantised(blocks, group_size)[weight == 0] == 0)
    inside = np.abs(dequantised(blocks, group_size) - weight) <= step * 0.501
    assert inside.mean() > 0.95


def test_the_peak_of_a_symmetric_block_is_as_exact_as_its_scale_whatever_its_sign():
    weight = weights(16, 128)
    blocks = blockwise(weight, 4, 32, symmetric=True)
    grouped, back = weight.reshape(16, 4, 32), dequantised(blocks, 32).reshape(16, 4, 32)
    peak = np.abs(grouped).argmax(axis=2)[..., None]
    np.testing.assert_allclose(
        np.take_along_axis(back, peak, axis=2), np.take_along_axis(grouped, peak, axis=2), rtol=2**-11
    )
    assert (blocks.zero == 8).all()


def test_a_channel_keeps_its_own_scale():
    weight = weights(16, 128)
    weight[3] *= 1000
    values, scale = per_channel_int8(weight)
    assert values.dtype == np.int8
    assert np.abs(values).max(axis=1)[1:].min() == 127  # every channel uses the whole range
    assert values.min() == -127  # symmetric: -128 would have no counterpart
    assert np.all(np.abs(values * scale[:, None] - weight) <= scale[:, None] * 0.501)


def test_an_all_zero_channel_stays_zero():
    values, scale = per_channel_int8(np.zeros((4, 32), np.float32))
    assert not values.any()
    assert np.isfinite(scale).all()
    for bits in (4, 8):
        for symmetric in (True, False):
            blocks = blockwise(np.zeros((4, 32), np.float32), bits, 32, symmetric=symmetric)
            assert not dequantised(blocks, 32).any()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
@settings(deadline=None)
def test_packing_keeps_every_number_and_its_place(rows, columns, seed):
    values = np.random.default_rng(seed).integers(0, 16, (rows, columns)).astype(np.uint8)
    packed = pack4(values)
    assert packed.shape == (rows, -(-columns // 2))
    assert np.array_equal(_unpacked(packed, 4)[:, :columns], values)

"""Time warping against the textbook recursion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fastwhisper_compress.runtime.dtw import cheapest_path

MATRICES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-9, 9, width=16))


def least_cost(costs):
    """The recursion, place by place."""
    n, m = costs.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    for i in range(n):
        for j in range(m):
            total[i + 1, j + 1] = costs[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return total[n, m]


@given(MATRICES)
def test_the_path_is_a_path_and_none_is_cheaper(costs):
    rows, columns = cheapest_path(costs)
    assert (rows[0], columns[0]) == (0, 0)
    assert (rows[-1] + 1, columns[-1] + 1) == costs.shape
    steps = {*zip(np.diff(rows).tolist(), np.diff(columns).tolist(), strict=True)}
    assert steps <= {(0, 1), (1, 0), (1, 1)}
    assert costs[rows, columns].sum() == pytest.approx(least_cost(costs), abs=1e-9)


def test_a_path_follows_a_ridge():
    """Each row costs least at its own columns: the path goes through them, and turns where the rows change."""
    costs = np.ones((3, 9))
    for row, (first, end) in enumerate([(0, 2), (2, 7), (7, 9)]):
        costs[row, first:end] = -1
    rows, columns = cheapest_path(costs)
    assert columns[np.diff(rows, prepend=-1) > 0].tolist() == [0, 2, 7]

"""Dynamic time warping (Giorgino 2009): the cheapest way through a matrix from its first corner to its last."""

from __future__ import annotations

import numpy as np

_DIAGONAL, _DOWN, _RIGHT = range(3)


def cheapest_path(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places that a path of least total cost goes through, by steps down, right, or both at once.

    All places of one anti-diagonal depend on the two before it alone, so each is computed at once. Where several steps
    cost the same, the one to the right comes first, as in openai-whisper, and both at once last.

    Shapes: (n, m), none of them 0 -> int64 (steps,) rows and int64 (steps,) columns, from (0, 0) to (n - 1, m - 1).
    """
    n, m = costs.shape
    width = m + 1  # one row and one column more than the matrix: what lies outside is out of reach
    own = np.zeros((n + 1, width))
    own[1:, 1:] = costs
    total = np.full((n + 1, width), np.inf)
    total[0, 0] = 0
    came = np.full((n + 1, width), _RIGHT, np.int8)
    came[1:, 0] = _DOWN
    own, best, steps = own.reshape(-1), total.reshape(-1), came.reshape(-1)
    for diagonal in range(2, n + m + 1):
        first, last = max(1, diagonal - m), min(n, diagonal - 1)
        # Row i of it is at i * width + diagonal - i.
        start, stop = first * m + diagonal, last * m + diagonal + 1
        both = best[start - width - 1 : stop - width - 1 : m]
        down = best[start - width : stop - width : m]
        right = best[start - 1 : stop - 1 : m]
        step = np.where((both < down) & (both < right), _DIAGONAL, np.where(down < right, _DOWN, _RIGHT))
        steps[start:stop:m] = step
        best[start:stop:m] = own[start:stop:m] + np.choose(step, (both, down, right))
    row, column = n, m
    path = []
    while row > 0 or column > 0:
        path.append((row - 1, column - 1))
        step = came[row, column]
        row -= step != _RIGHT
        column -= step != _DOWN
    rows, columns = np.array(path[::-1], np.int64).T
    return rows, columns

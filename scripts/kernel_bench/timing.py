"""Time the kernels of one kind of layer, taking turns call by call.

Every kernel's session is open and each round calls each of them once, so a machine that drifts does so for all alike,
and a kernel finds its weights as a model does: not in the caches of the core that used them last.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastwhisper_compress.runtime.session import open_session

_WARM_UP = 2


@dataclass(frozen=True)
class Effort:
    """How long one row of the table is measured.

    Attributes:
        least: So many rounds in any case,
        seconds: and more of them for so long,
        most: but never more than this.
    """

    least: int
    seconds: float
    most: int


class Call:
    """One session with its buffers bound, for one number of rows."""

    def __init__(self, session: Any, x: np.ndarray) -> None:
        import onnxruntime as ort

        self._session = session
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
        shared: dict[int, Any] = {}  # layers run one after another: one buffer for all, as an arena would give them
        for node in session.get_outputs():
            n = node.shape[-1]
            if n not in shared:
                shared[n] = ort.OrtValue.ortvalue_from_shape_and_type([*x.shape[:-1], n], np.float32, "cpu")
            self._binding.bind_ortvalue_output(node.name, shared[n])

    def seconds(self) -> float:
        """Run once; return how long it took."""
        start = time.perf_counter()
        self._session.run_with_iobinding(self._binding)
        return time.perf_counter() - start


def time_kernels(
    graphs: Mapping[str, Path],
    rows: Mapping[int, tuple[int, ...]],
    threads: int,
    effort: Effort,
    few: Collection[str] = (),
) -> dict[int, dict[str, dict[str, float]]]:
    """Measure every kernel at every number of rows.

    Args:
        graphs: Kernel name to a graph of :func:`kernel_bench.layers.write_layers`.
        rows: Number of rows to the shape of the input.
        threads: Of ONNX Runtime.
        effort: How long.
        few: Kernels that take part in the first ``least`` rounds only, since they are slow and only for contrast.

    Returns:
        Rows to kernel to ``median_ms``, ``lower_ms``, ``upper_ms`` (quartiles) of all layers together, and ``rounds``.
    """
    sessions = {name: open_session(graph, "cpu", threads) for name, graph in graphs.items()}
    rng = np.random.default_rng(0)
    found = {}
    for n, shape in rows.items():
        x = rng.standard_normal(shape, dtype=np.float32)
        calls = {name: Call(session, x) for name, session in sessions.items()}
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(_WARM_UP):
            for call in calls.values():
                call.seconds()
        for _ in range(effort.least):
            for name, call in calls.items():
                times[name].append(call.seconds())
        often = {name: call for name, call in calls.items() if name not in few}
        end = time.perf_counter() + effort.seconds
        for _ in range(effort.most - effort.least):
            if time.perf_counter() >= end:
                break
            for name, call in often.items():
                times[name].append(call.seconds())
        found[n] = {name: _figures(values) for name, values in times.items()}
    return found


def _figures(seconds: list[float]) -> dict[str, float]:
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return {"median_ms": 1e3 * median, "lower_ms": 1e3 * lower, "upper_ms": 1e3 * upper, "rounds": len(seconds)}

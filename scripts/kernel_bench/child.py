"""One measurement in a fresh process: what a graph holds in memory, or how an artifact runs under a setting.

Reads a JSON object from its first argument and writes one on standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_peers.runners import child, ours

from fastwhisper_compress.runtime.memory import release_free_memory
from fastwhisper_compress.runtime.session import open_session
from kernel_bench.settings import BY_NAME, install

_KIB = 1024


def memory(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what opening and running a graph adds to this process.

    ``spec``: ``graph``; ``idle``, a graph without weights that is opened first, so that the library's own pages are not
    counted; ``runs``, how often the graph is run, with other inputs each time; ``largest_id``, of integer inputs.
    """
    idle = open_session(Path(spec["idle"]), "cpu", spec["threads"])
    idle.run(None, {"x": np.zeros((1, 1), np.float32)})
    release_free_memory()
    before = _resident()
    session = open_session(Path(spec["graph"]), "cpu", spec["threads"])
    release_free_memory()
    loaded = _resident()
    rng = np.random.default_rng(0)
    for _ in range(spec["runs"]):
        session.run(None, {node.name: _values(node, rng, spec["largest_id"]) for node in session.get_inputs()})
    release_free_memory()
    ran = _resident()
    return {
        f"{when}_{what}_bytes": now[what] - before[what]
        for when, now in (("loaded", loaded), ("ran", ran))
        for what in ("anonymous", "mapped")
    }


def speech(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Measure an artifact on clips; ``spec`` is that of ``bench_peers.runners``.

    ``anonymous_bytes`` is what is left at the end without mapped files, which the system may drop and read again.
    """
    report = child.measure(
        spec, ("onnxruntime", "fastwhisper_compress.runtime"), partial(ours.load, backend="onnxruntime")
    )
    clips = report.pop("clips")
    wall_s = sum(clip["wall_s"] for clip in clips)
    audio_s = sum(clip["audio_s"] for clip in clips)
    found = {"rtfx": audio_s / wall_s, "texts": [clip["text"] for clip in clips]}
    return report | found | {"anonymous_bytes": _resident()["anonymous"]}


def _values(node: Any, rng: np.random.Generator, largest_id: int) -> np.ndarray:
    shape = [n if isinstance(n, int) else 1 for n in node.shape]
    if node.type == "tensor(int64)":
        return rng.integers(0, largest_id + 1, shape)
    return rng.standard_normal(shape, dtype=np.float32)


def _resident() -> dict[str, int]:
    """Return this process's resident bytes: its own, and those of mapped files."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) * _KIB for line in lines}
    return {"anonymous": sizes["Anonymous"], "mapped": sizes["Rss"] - sizes["Anonymous"]}


def main() -> None:
    """Do what the first argument says."""
    spec = json.loads(sys.argv[1])
    install(BY_NAME[spec["setting"]], spec["threads"])
    print(json.dumps({"memory": memory, "speech": speech}[spec["measure"]](spec)))


if __name__ == "__main__":
    main()

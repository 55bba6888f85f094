"""What the runners of long audio do around their runtime: time it, watch its memory, report one JSON line.

As ``child`` does for clips, but the runtime is given the file: reading it is part of long audio, and so is finding speech.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_peers.runners.child import busy_s, peak_bytes

Transcribe = Callable[[Path], str]


@dataclass(frozen=True)
class Task:
    """What a runner is to load.

    Attributes:
        artifact: The folder that it reads.
        precision: Of the weights; ours are what the artifact says.
        language: Code of the speech, such as ``en``.
        threads: Threads to compute with.
        batch_size: Windows at a time.
    """

    artifact: Path
    precision: str
    language: str
    threads: int
    batch_size: int


def run(libraries: Sequence[str], load: Callable[[Task], Transcribe]) -> None:
    """Measure one runtime as the spec in ``sys.argv[1]`` says.

    Args:
        libraries: Its modules, imported before it is loaded, so that both are timed apart.
        load: Opens the model and returns the function that transcribes a file.
    """
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to standard error
    report.write(json.dumps(measure(spec, libraries, load)) + "\n")
    report.flush()


def measure(spec: Mapping[str, Any], libraries: Sequence[str], load: Callable[[Task], Transcribe]) -> dict[str, Any]:
    """Load, warm up with a short file, then time every recording."""
    start = time.perf_counter()
    for name in libraries:
        importlib.import_module(name)
    import_s = time.perf_counter() - start
    task = Task(**{**spec["task"], "artifact": Path(spec["task"]["artifact"])})
    start = time.perf_counter()
    transcribe = load(task)
    load_s = time.perf_counter() - start
    transcribe(Path(spec["warm_up"]))
    rows = []
    machine, own, start = busy_s(), time.process_time(), time.perf_counter()
    for recording in spec["recordings"]:
        begun = time.perf_counter()
        text = transcribe(Path(recording["audio"]))
        rows.append({"id": recording["id"], "text": text, "wall_s": time.perf_counter() - begun})
    span, own, machine = time.perf_counter() - start, time.process_time() - own, busy_s() - machine
    return {
        "import_s": import_s,
        "load_s": load_s,
        "peak_rss_bytes": peak_bytes(),
        "own_cores": own / span,
        "other_cores": max(0.0, machine - own) / span,
        "recordings": rows,
    }

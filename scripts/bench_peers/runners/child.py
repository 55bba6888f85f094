"""What every runner does around its peer: time it, watch its memory, report one JSON line.

Only numpy and the standard library are loaded besides the peer. The clips arrive decoded, as ``.npy`` files of 16 kHz
mono samples, so that every peer hears the same and none pays for decoding.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Transcribe = Callable[[Samples], str]

RATE_HZ = 16_000
_KIB = 1024


@dataclass(frozen=True)
class Task:
    """What a runner is to load.

    Attributes:
        artifact: The folder that the peer reads.
        precision: One of the peer's precisions.
        language: Code of the speech, such as ``en``.
        multilingual: Whether the model has to be told the language.
        threads: Threads to compute with.
    """

    artifact: Path
    precision: str
    language: str
    multilingual: bool
    threads: int


def run(libraries: Sequence[str], load: Callable[[Task], Transcribe]) -> None:
    """Measure one peer as the spec in ``sys.argv[1]`` says.

    Args:
        libraries: Modules of the peer, imported before it is loaded, so that both are timed apart.
        load: Opens the model and returns the function that transcribes a clip.
    """
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to standard error
    report.write(json.dumps(measure(spec, libraries, load)) + "\n")
    report.flush()


def measure(spec: Mapping[str, Any], libraries: Sequence[str], load: Callable[[Task], Transcribe]) -> dict[str, Any]:
    """Load, warm up with the first clip, then time every clip."""
    start = time.perf_counter()
    for name in libraries:
        importlib.import_module(name)
    import_s = time.perf_counter() - start
    rss_imports = status_bytes("VmRSS")

    task = Task(**{**spec["task"], "artifact": Path(spec["task"]["artifact"])})
    start = time.perf_counter()
    transcribe = load(task)
    load_s = time.perf_counter() - start
    rss_load = status_bytes("VmRSS")

    clips = spec["clips"]
    start = time.perf_counter()
    transcribe(np.load(clips[0]["samples"]))
    first_s = time.perf_counter() - start

    rows = []
    machine, own, start = busy_s(), time.process_time(), time.perf_counter()
    for clip in clips:
        samples = np.load(clip["samples"])
        begun = time.perf_counter()
        text = transcribe(samples)
        wall_s = time.perf_counter() - begun
        rows.append({"id": clip["id"], "text": text, "audio_s": samples.size / RATE_HZ, "wall_s": wall_s})
    span, own, machine = time.perf_counter() - start, time.process_time() - own, busy_s() - machine
    return {
        "import_s": import_s,
        "load_s": load_s,
        "first_clip_s": first_s,
        "rss_imports_bytes": rss_imports,
        "rss_load_bytes": rss_load,
        "peak_rss_bytes": peak_bytes(),
        "own_cores": own / span,
        "other_cores": max(0.0, machine - own) / span,
        "clips": rows,
    }


def busy_s() -> float:
    """CPU seconds that the whole machine has used: all but idle and waiting, guests being part of user and nice."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0.0
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def peak_bytes() -> int:
    """Peak resident memory; not ``ru_maxrss`` on Linux, which a child inherits from a large parent."""
    factor = 1 if sys.platform == "darwin" else _KIB
    return status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


def status_bytes(field: str) -> int:
    """Return a field of this process's memory as the kernel tells it; 0 where it does not."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith(f"{field}:")), 0)

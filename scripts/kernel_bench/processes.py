"""Start the measurements that need a process of their own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

import fastwhisper_compress
from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.artifact import GRAPHS, emit
from fastwhisper_compress.emit.graph import IR_VERSION, OPSET
from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.passes.apply import apply
from fastwhisper_compress.recipe.loader import load_recipe
from fastwhisper_compress.recipe.selectors import select
from fastwhisper_compress.runtime.manifest import FORMAT, SCHEMA_VERSION
from kernel_bench.settings import SHIPPED, Setting, save_prepacked

if TYPE_CHECKING:
    from bench_peers.measure import Clip

RECIPE = "int8_dynamic"
_TAIL = 1_000
_FIGURES = ("load_s", "rtfx", "peak_rss_bytes", "rss_load_bytes", "first_clip_s", "anonymous_bytes")


@dataclass(frozen=True)
class Probe:
    """Asks fresh processes how much memory graphs take.

    Attributes:
        folder: For a graph of no weights.
        threads: Of ONNX Runtime.
    """

    folder: Path
    threads: int

    def memory(self, graph: Path, *, setting: Setting = SHIPPED, runs: int = 1, largest_id: int = 0) -> dict[str, int]:
        """Return the bytes that a graph adds, as :func:`kernel_bench.child.memory` has it."""
        spec = {"graph": str(graph), "idle": str(self._idle()), "runs": runs, "largest_id": largest_id}
        return start("memory", spec, setting, self.threads)

    def _idle(self) -> Path:
        path = self.folder / "idle.onnx"
        if not path.exists():
            x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b"]) for name in "xy")
            graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "idle", [x], [y])
            opsets = [helper.make_opsetid("", OPSET)]
            onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), path)
        return path


def start(measure: str, spec: Mapping[str, Any], setting: Setting, threads: int) -> dict[str, Any]:
    """Run :mod:`kernel_bench.child` and return what it says.

    Raises:
        BackendError: It failed.
    """
    content = json.dumps({**spec, "measure": measure, "setting": setting.name, "threads": threads})
    roots = [Path(__file__).parents[1], Path(fastwhisper_compress.__file__).parents[1]]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "kernel_bench.child", content],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BackendError(f"failed:\n{done.stderr[-_TAIL:]}", place=f"{measure}, {setting.name}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_artifact(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write the shipped recipe's artifact of a checkpoint: what the runtime reads, without verification."""
    recipe = load_recipe(RECIPE).recipe
    selections = [select(one, modules(checkpoint.dims)) for one in recipe.passes]
    compressed = apply(checkpoint, recipe.passes, selections, "cpu")
    folder.mkdir(parents=True)
    emission = emit(compressed.checkpoint, compressed.plan, folder)
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "provider": "cpu",
        "graphs": GRAPHS,
        "encoder_context": {"margin_s": None},
        "batch_size": 1,
        "offload": "none",
        "layers": None,
        "modules": [row.to_json() for row in emission.modules],
        "decoding": checkpoint.decoding.to_json(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def write_prepacked(artifact: Path, folder: Path) -> Path:
    """Write an artifact again with its weights packed already."""
    (folder / "onnx").mkdir(parents=True)
    for name in GRAPHS.values():
        save_prepacked(artifact / name, (folder / name).parent)
    for path in artifact.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def compare_settings(
    artifact: Path,
    clips: Sequence[Clip],
    settings: Sequence[Setting],
    *,
    rounds: int,
    threads: int,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run an artifact under every setting in turn, round by round, each time in a fresh process.

    Returns:
        An entry a setting: medians of the figures, medians and range of their ratios to the first setting's within a
        round, and whether it heard the same. A setting that fails says why instead.
    """
    folders = {False: artifact}
    if any(setting.prepacked for setting in settings):
        folders[True] = write_prepacked(artifact, artifact.with_name("prepacked"))
    reports: dict[str, list[dict[str, Any]]] = {setting.name: [] for setting in settings}
    failures: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for setting in settings:
            if setting.name in failures:
                continue
            tell(f"settings, round {number} of {rounds}: {setting.name}")
            asked = setting.threads or threads
            task = {"artifact": str(folders[setting.prepacked]), "precision": RECIPE, "multilingual": False}
            spec = {
                "task": {**task, "language": clips[0].language, "threads": asked},
                "clips": [{"id": clip.id, "samples": str(clip.samples)} for clip in clips],
            }
            try:
                reports[setting.name].append(start("speech", spec, setting, asked))
            except BackendError as error:
                told = [line for line in str(error).splitlines() if line and not line[0].isspace()]
                failures[setting.name] = told[-1]  # what is indented is a traceback or a remedy
    base = reports[settings[0].name]
    sizes = {packed: sum(p.stat().st_size for p in folder.rglob("*.*")) for packed, folder in folders.items()}
    return [
        {"setting": setting.name, "failed": failures[setting.name]}
        if setting.name in failures
        else {
            "setting": setting.name,
            "artifact_bytes": sizes[setting.prepacked],
            "same_texts": all(one["texts"] == base[0]["texts"] for one in reports[setting.name]),
            **_compared(reports[setting.name], base),
        }
        for setting in settings
    ]


def _compared(reports: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"rounds": len(reports)}
    found["other_cores"] = statistics.median(report["other_cores"] for report in reports)
    for figure in _FIGURES:
        ratios = [one[figure] / other[figure] for one, other in zip(reports, base, strict=True)]
        found[figure] = statistics.median(report[figure] for report in reports)
        found[f"{figure}_ratio"] = statistics.median(ratios)
        found[f"{figure}_ratio_range"] = [min(ratios), max(ratios)]
    return found

"""The layers of the package: who may import whom, and what must start without the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastwhisper_compress

PACKAGE = Path(fastwhisper_compress.__file__).parent
NAME = PACKAGE.name

BASE = {"errors", "resources", "harmless", "locks", "files"}
# Layer by layer from the bottom: what each may import, besides itself. A module that is not named here fails the test,
# so that nobody adds one without saying where it belongs.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "resources": {"errors"},
    "harmless": set(),
    "locks": set(),
    "files": {"errors", "locks"},
    "nvml": set(),
    "recipe": BASE,
    "checkpoint": BASE | {"recipe"},
    # An artifact folder is all that passes between emit and runtime, and whoever runs an artifact needs nothing else.
    "emit": BASE | {"recipe", "checkpoint"},
    "passes": BASE | {"recipe", "checkpoint", "emit"},
    "runtime": {"errors"},
    "transcription": BASE | {"runtime"},
    "evaluation": BASE | {"runtime", "transcription", "nvml"},
    # What fits is told from dimensions and a recipe, before anything is loaded.
    "memory": BASE | {"recipe", "checkpoint", "emit", "passes", "nvml"},
    "training": BASE | {"recipe", "checkpoint", "emit", "passes", "runtime"},
    "report": BASE | {"recipe", "checkpoint", "emit", "passes", "runtime", "transcription", "evaluation", "memory"},
    "pipeline": BASE
    | {"recipe", "checkpoint", "emit", "passes", "runtime", "transcription", "evaluation", "memory", "training"}
    | {"report", "nvml"},
}
MAY_IMPORT |= {
    "doctor": BASE | {"checkpoint", "runtime", "pipeline"},
    "console": BASE | {"report", "pipeline"},
    "console_plan": BASE | {"checkpoint", "memory", "console"},
}
TOP = {"cli", "__main__"}
MAY_IMPORT |= {name: set(MAY_IMPORT) | TOP for name in TOP}

# Imports that cost a second or hundreds of megabytes.
HEAVY = {
    "torch",
    "transformers",
    "whisper",
    "scipy",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "openvino",
    "huggingface_hub",
    "datasets",
}


def modules() -> dict[str, Path]:
    """Every module of the package under its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, path: Path, *, at_start: bool = False) -> set[str]:
    """Dotted names that a module imports anywhere in it, or only those that run when it is itself imported."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in MODULES)
        for child in ast.iter_child_nodes(node):
            deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            if not (at_start and deferred):
                walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found


def layer(name: str) -> str | None:
    """The first name below the package: ``fastwhisper_compress.recipe.schema`` is of the layer ``recipe``."""
    parts = name.split(".")
    return parts[1] if parts[0] == NAME and len(parts) > 1 else None


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    own = layer(name)
    reached = {layer(imported) for imported in imports(name, MODULES[name])} - {None, own, "__version__"}
    if own is None:
        assert not reached, "the package itself imports nothing of its own"
        return
    assert own in MAY_IMPORT, f"say in MAY_IMPORT what the new layer {own!r} may import"
    assert reached <= MAY_IMPORT[own], f"{name} must not import {sorted(reached - MAY_IMPORT[own])}"


def test_the_layers_have_an_order():
    order = list(TopologicalSorter({name: below - TOP for name, below in MAY_IMPORT.items()}).static_order())
    assert set(order) == set(MAY_IMPORT)


def test_no_module_is_part_of_a_cycle():
    graph = {
        name: {imported for imported in imports(name, path, at_start=True) if imported in MODULES} - {name}
        for name, path in MODULES.items()
    }
    # A package and its modules import each other by design: `from package import module` in the __init__.
    for name, below in graph.items():
        below -= {other for other in below if name.startswith(other + ".")}
    TopologicalSorter(graph).prepare()


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys; {statement}; print('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        (f"import {NAME}", set()),
        (f"import {NAME}.recipe", set()),
        (f"import {NAME}.memory.hardware", set()),
        (f"import {NAME}.cli", set()),
        (f"import {NAME}.runtime", {"onnxruntime"}),
        (f"import {NAME}.runtime.audio_child, {NAME}.runtime.audio_opening", set()),
        (f"import {NAME}.evaluation.runner", {"onnxruntime"}),
        (f"import {NAME}.checkpoint", set()),
        (f"import {NAME}.report", set()),
    ],
)
def test_doors_open_without_heavy_libraries(statement, allowed):
    assert loaded_after(statement) & HEAVY <= allowed


def test_the_package_alone_loads_nothing_else():
    ours = {line for line in loaded_after(f"import {NAME}") if line not in sys.stdlib_module_names}
    assert not {"pydantic", "ruamel", "numpy", "typer"} & ours


def test_the_runtime_can_never_reach_torch():
    """Not even inside a function: a process that transcribes is measured by its memory."""
    reached = set().union(*(imports(name, path) for name, path in MODULES.items() if layer(name) == "runtime"))
    assert not {name.partition(".")[0] for name in reached} & {"torch", "transformers", "whisper"}

"""Change the code a little, in every place, and see whether the tests notice: mutation testing of what must be right.

    pip install mutmut==3.8.1
    python scripts/mutation.py --tree FOLDER store statistics gates recipe

Each group is tested in a copy of the committed repository below ``--tree``, by the few tests that are about it; a group that
was stopped goes on there. What mutmut found is written to ``eval/baselines/mutation.md``. The reasons that stand there
behind survivors are kept. mutmut changes no function with a decorator (properties, context managers) and nothing outside of
functions; lines with a remedy are left out, whose wording no test repeats.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "eval" / "baselines" / "mutation.md"
PACKAGE = "fastwhisper_compress"
_KILLED = ("killed", "timeout")
_ROW = re.compile(r"^\| `[^`]+` \| `(?P<change>.*)` \| (?P<why>.+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Group:
    """Modules that belong together, and the tests that are about them."""

    modules: Sequence[str]
    tests: Sequence[str]


GROUPS = {
    "store": Group(
        ("pipeline/store.py", "pipeline/publish.py", "pipeline/seal.py", "locks.py"),
        ("tests/test_locks.py", *(f"tests/pipeline/test_{name}.py" for name in ("publish", "seal", "store", "cache"))),
    ),
    # Without the simulations, which say how well an interval holds, and take minutes.
    "statistics": Group(
        ("evaluation/stats.py", "evaluation/wer.py"),
        (
            "tests/evaluation/test_stats.py",
            "tests/evaluation/test_wer.py",
            "-k",
            "not holds_the_truth and not five_percent",
        ),
    ),
    "gates": Group(
        ("pipeline/gates.py", "pipeline/verify.py", "report/judge.py"),
        ("tests/pipeline/test_gates.py", "tests/pipeline/test_verify.py", "tests/report/test_judge.py"),
    ),
    "recipe": Group(
        ("recipe/loader.py", "recipe/schema.py", "recipe/selectors.py", "recipe/patterns.py", "recipe/check.py"),
        ("tests/recipe", "-k", "not never_select_less and not no_glob_breaks"),
    ),
}


def main() -> int:
    """Read the arguments, test the groups one after another, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("groups", nargs="+", choices=GROUPS)
    parser.add_argument("--tree", type=Path, required=True, help="a folder for the copies of the repository")
    parser.add_argument("--mutmut", default="mutmut", help="the command, where it is not on the path")
    parser.add_argument("--report-only", action="store_true", help="write what is known so far")
    asked = parser.parse_args()
    for name in [] if asked.report_only else asked.groups:
        _run(_copy(asked.tree / name, GROUPS[name]), asked.mutmut, "run", "--max-children", "1")
    _write({name: _results(asked.mutmut, asked.tree / name) for name in GROUPS if (asked.tree / name).exists()})
    return 0


def _run(folder: Path, *command: str) -> bytes:
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603 - ours


def _copy(folder: Path, group: Group) -> Path:
    """The committed repository in a folder, with mutmut told what to do; one that is there is left as it is."""
    if not folder.exists():
        folder.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(_run(ROOT, "git", "archive", "HEAD"))) as archive:
            archive.extractall(folder, filter="data")
        with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(
                "\n[tool.mutmut]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in _settings(group))
            )
    return folder


def _settings(group: Group) -> list[tuple[str, object]]:
    return [
        ("source_paths", [PACKAGE]),
        ("only_mutate", [f"{PACKAGE}/{module}" for module in group.modules]),
        ("also_copy", ["recipes", "eval", "scripts", "README.md"]),
        ("pytest_add_cli_args", ["-p", "no:cacheprovider", "-x", "-n0"]),
        ("pytest_add_cli_args_test_selection", list(group.tests)),
        ("do_not_mutate_patterns", ["remedy="]),
        ("timeout_multiplier", 3.0),
        ("timeout_constant", 4.0),
    ]


@dataclass(frozen=True)
class Result:
    """What became of a group's mutants.

    Attributes:
        counts: How many ended how: killed, timeout, survived, no tests, ...
        survivors: Name and change of those that no test noticed.
    """

    counts: Mapping[str, int]
    survivors: Sequence[tuple[str, str]]


def _results(mutmut: str, folder: Path) -> Result:
    said = _run(folder, mutmut, "results", "--all", "true").decode()
    ends = dict(line.strip().rsplit(": ", 1) for line in said.splitlines() if "__mutmut_" in line)
    alive = [name for name, end in ends.items() if end not in (*_KILLED, "not checked")]
    return Result(Counter(ends.values()), [(name, _change(mutmut, folder, name)) for name in alive])


def _change(mutmut: str, folder: Path, name: str) -> str:
    """The lines of a mutant that are other than before, in one."""
    said = _run(folder, mutmut, "show", name).decode()
    lines = [line for line in said.splitlines() if line[:1] in ("+", "-") and line[:3] not in ("---", "+++")]
    removed, added = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return f"{removed} -> {added}".replace("|", "\\|").replace("`", "'")


def _write(results: Mapping[str, Result]) -> None:
    before = OUT.read_text(encoding="utf-8") if OUT.exists() else ""
    reasons = {row["change"]: row["why"] for row in _ROW.finditer(before)}
    lines = ["# Mutation testing", "", "Made by `scripts/mutation.py`, which says what is changed and what is not.", ""]
    lines += [
        "| group | mutants | killed | by a timeout | survived | no test | not yet tried | share |",
        "|" + " ---: |" * 8,
    ]
    for name, result in results.items():
        lines.append(_summary(name, result.counts))
    for name, result in results.items():
        lines += ["", f"## {name}: what survived", "", "| function | change | why it may |", "| --- | --- | --- |"]
        lines += [
            f"| `{_function(one)}` | `{change}` | {reasons.get(change, '')} |" for one, change in result.survivors
        ]
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _summary(name: str, counts: Mapping[str, int]) -> str:
    killed, late, left = counts.get("killed", 0), counts.get("timeout", 0), counts.get("not checked", 0)
    total = sum(counts.values())
    without, tried = counts.get("no tests", 0), total - left
    share = f"{100 * (killed + late) / tried:.1f} %" if tried else ""
    alive = tried - killed - late - without
    return f"| {name} | {total} | {killed} | {late} | {alive} | {without} | {left} | {share} |"


def _function(mutant: str) -> str:
    """``package.module.x_name__mutmut_3`` as ``module.name``."""
    module, _, name = mutant.rpartition(".")
    return f"{module.rpartition('.')[2]}.{re.sub('__mutmut_[0-9]+$', '', name).removeprefix('x_').lstrip('xǁ').replace('ǁ', '.')}"


if __name__ == "__main__":
    sys.exit(main())

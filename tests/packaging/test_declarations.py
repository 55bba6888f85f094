"""pyproject.toml, constraints.txt, the README and CI say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import fastwhisper_compress

PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([0-9][0-9a-z.]*)")


@pytest.fixture(scope="module")
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pins(repository) -> dict[str, Version]:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [PIN.fullmatch(line) for line in lines if line and not line.startswith("#")]
    assert all(found), "every line is name==version: no hosts, no paths, no local versions, no ranges"
    return {canonicalize_name(match[1]): Version(match[2]) for match in found if match}


def extra(project, name):
    return [Requirement(line) for line in project["optional-dependencies"][name]]


def test_every_requirement_is_pinned_within_its_bounds(project, pins):
    lines = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    for requirement in map(Requirement, lines):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert pins["torch"] == Version("2.13.0")


@pytest.mark.parametrize(
    ("system", "machine", "runtime"),
    [
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("win32", "AMD64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
    ],
)
def test_each_platform_gets_exactly_one_onnx_runtime(project, system, machine, runtime):
    environment = {**default_environment(), "sys_platform": system, "platform_machine": machine}
    chosen = [each.name for each in extra(project, "gpu") if not each.marker or each.marker.evaluate(environment)]
    assert [name for name in chosen if name.startswith("onnxruntime")] == [runtime]
    assert "bitsandbytes" in chosen
    assert [each.name for each in extra(project, "cpu")] == ["onnxruntime"]


def test_the_base_holds_no_onnx_runtime(project):
    assert not [line for line in project["dependencies"] if line.startswith("onnxruntime")]


def test_weights_are_pinned_exactly(project):
    for requirement in extra(project, "demo") + extra(project, "base-weights"):
        assert str(requirement.specifier).startswith("=="), requirement


def test_there_is_one_version(installed, tmp_path):
    code = "from importlib.metadata import version; print(version('fastwhisper-compress'))"
    assert installed.run("-c", code, cwd=tmp_path).stdout.strip() == fastwhisper_compress.__version__


def test_ci_runs_the_test_command_of_the_readme(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^<!-- test-command -->\n+```\w*\n(.+)\n```$", text, re.MULTILINE)
    assert found, "README.md needs the marker and a fenced block with the command in one line"
    assert "-c constraints.txt" in found[1]
    assert found[1].startswith("python3 -m venv .venv && ")
    assert found[1].endswith("-m pytest")


@pytest.mark.skipif(sys.platform == "win32", reason="CI is a bash script")
class TestCi:
    """The script on made-up READMEs; the tools are stand-ins that print their arguments."""

    TOOLS = "mkdir -p .venv/bin && for t in ruff mypy; do cp /bin/echo .venv/bin/$t; done"

    def run(self, repository, folder, readme):
        (folder / ".ci").mkdir()
        shutil.copy(repository / ".ci" / "run", folder / ".ci" / "run")
        if readme is not None:
            (folder / "README.md").write_text(readme, encoding="utf-8")
        return subprocess.run([folder / ".ci" / "run"], capture_output=True, text=True, check=False, cwd=folder.parent)

    def test_install_checks_tests(self, repository, tmp_path):
        readme = f"a\n```\nno\n```\n<!-- test-command -->\n```sh\n{self.TOOLS} && echo tested\n```\n```\nno\n```\n"
        done = self.run(repository, tmp_path, readme)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line and not line.startswith("ci:")]
        assert lines == ["check .", "format --check .", "tested"]

    @pytest.mark.parametrize("command", ["false && echo tested", TOOLS + " && false"])
    def test_a_failing_step_fails_the_run(self, repository, tmp_path, command):
        done = self.run(repository, tmp_path, f"<!-- test-command -->\n```\n{command}\n```\n")
        assert done.returncode != 0
        assert "tested" not in done.stdout.splitlines()

    @pytest.mark.parametrize(
        "readme",
        [
            None,
            "",
            "```\na && b\n```\n",
            "<!-- test-command -->\n",
            "<!-- test-command -->\n```\n```\n",
            "<!-- test-command -->\n```\na && b\nc && d\n```\n",
            "<!-- test-command -->\n```\npytest\n```\n",
        ],
    )
    def test_without_the_command_nothing_passes(self, repository, tmp_path, readme):
        done = self.run(repository, tmp_path, readme)
        assert done.returncode != 0
        assert "README.md" in done.stderr

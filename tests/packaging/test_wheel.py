"""What an installed copy holds and does, away from the checkout."""

from __future__ import annotations

import json
import zipfile

import pytest

import fastwhisper_compress
from fastwhisper_compress.memory.hardware import device_names
from fastwhisper_compress.recipe import list_recipes

PACKAGE = "fastwhisper_compress"


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_and_its_data(names, repository):
    data = f"{PACKAGE}/_data"
    assert {f"{data}/recipes/{name}.yaml" for name in list_recipes()} <= names
    assert {f"{data}/recipes/recipe.schema.json", f"{data}/eval/suites/demo.yaml", f"{PACKAGE}/py.typed"} <= names
    assert {f"{PACKAGE}/memory/devices/{name}.yaml" for name in device_names()} <= names
    sources = {str(path.relative_to(repository).as_posix()) for path in (repository / PACKAGE).rglob("*.py")}
    assert sources <= names


def test_the_wheel_holds_nothing_else(names, wheel):
    assert {name.split("/")[0] for name in names} == {
        PACKAGE,
        f"{PACKAGE}-{fastwhisper_compress.__version__}.dist-info",
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".onnx", ".safetensors"))]
    assert wheel.stat().st_size < 12e6


def test_the_installed_copy_is_the_one_that_runs(installed, tmp_path):
    code = (
        f"import {PACKAGE}.resources as r; print(r.__file__); print(r.data_dir('recipes')); print(r.data_dir('eval'))"
    )
    done = installed.run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    environment = str(installed.python.parent.parent)
    assert all(line.startswith(environment) for line in done.stdout.split("\n") if line), done.stdout


def test_recipes_are_listed_from_any_folder(installed, tmp_path):
    done = installed.run("-m", PACKAGE, "recipes", "list", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == list(list_recipes())


def test_the_command_is_installed(installed, tmp_path):
    code = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    command = installed.scripts / "fastwhisper-compress"
    done = installed.run("-c", code, str(command), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "recipe" in done.stdout


def test_a_shipped_recipe_runs_by_name_from_any_folder(installed, tmp_path):
    out = tmp_path / "out"
    arguments = ("run", "int8_attn_fp16", "--limit", "2", "--out", str(out))
    done = installed.run("-m", PACKAGE, *arguments, cwd=tmp_path, timeout=280)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["recipe"]["name"] == "int8_attn_fp16"
    assert results["candidate"]["eval"]["n_utterances"] == 2
    assert results["comparable"] is False
    assert results["environment"]["package_version"] == fastwhisper_compress.__version__
    assert (out / "manifest.json").is_file()
    assert (out / "report.html").is_file()

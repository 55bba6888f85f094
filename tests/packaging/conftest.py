from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Installed:
    """An environment that holds the built wheel and, of everything else, what the tests themselves run with."""

    python: Path
    scripts: Path

    def run(self, *arguments: str, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python away from the checkout, as a user would."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
        }
        command = [str(self.python), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=timeout
        )


@pytest.fixture(scope="session")
def wheel(repository, tmp_path_factory) -> Path:
    """The wheel as `python -m build` makes it from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(repository)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Installed:
    """The wheel in an environment of its own, without network."""
    folder = tmp_path_factory.mktemp("env")
    venv.EnvBuilder(with_pip=False).create(folder)
    paths = {
        key: Path(path)
        for key, path in sysconfig.get_paths("venv", {"base": str(folder), "platbase": str(folder)}).items()
    }
    python = paths["scripts"] / Path(sys.executable).name
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # The dependencies are those of the running environment. A line of a .pth file adds a folder without reading the
    # .pth files in there, so an editable installation of the checkout stays invisible.
    here = sysconfig.get_paths()
    (paths["purelib"] / "dependencies.pth").write_text("\n".join({here["purelib"], here["platlib"]}), encoding="utf-8")
    return Installed(python, paths["scripts"])

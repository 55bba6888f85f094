"""The command line, called in this process where a fresh one would tell no more, and one finished run to look at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from terminal import Done, snapshot, terminal, write_model

from fastwhisper_compress.cli import main


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """A function: arguments -> how the command ended. It runs in an empty working folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def cli_(*arguments):
        monkeypatch.setattr(sys, "argv", ["fastwhisper-compress", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Done(end.value.code or 0, *capsys.readouterr())

    return cli_


@pytest.fixture
def refused(cli, tmp_path):
    """A function: arguments, code, words -> checks a typed error that left nothing in the working folder."""

    def refused_(arguments, code, *words):
        before = snapshot(tmp_path)
        done = cli(*arguments)
        done.refused(code, *map(str, words))
        assert snapshot(tmp_path) == before
        return done

    return refused_


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """A cache that no other test has filled."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FASTWHISPER_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A small random checkpoint that says the same whatever it hears."""
    return write_model(tmp_path_factory.mktemp("models") / "decisive")


@pytest.fixture(scope="session")
def finished(model, tmp_path_factory):
    """A finished run of the small model: the working folder, and how it ended. Read only."""
    here = tmp_path_factory.mktemp("finished")
    done = terminal("run", "int8_dynamic", "--model", model, "--limit", 3, "--out", "out", "--json", cwd=here)
    assert done.code == 0, done.err
    return here, done


@pytest.fixture(scope="session")
def artifact(finished):
    """The output folder of the finished run. Read only."""
    return finished[0] / "out"

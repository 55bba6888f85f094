"""Help, machine-readable output, colours, and what every kind of failure looks like from outside."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from terminal import COMMAND, start, terminal

from fastwhisper_compress import __version__, errors, recipe
from fastwhisper_compress.errors import FastWhisperError
from fastwhisper_compress.recipe import list_recipes

COMMANDS = ["run", "eval", "transcribe", "compare", "validate", "schema", "recipes", "doctor"]
HEAVY = {"torch", "transformers", "onnx", "onnxruntime", "numpy", "scipy", "matplotlib", "pydantic", "huggingface_hub"}


def test_help_loads_nothing_heavy_and_names_commands_and_codes(tmp_path):
    code = (
        "import sys; from fastwhisper_compress.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, *{n.partition('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    *text, loaded = done.stdout.strip().splitlines()
    code, *names = loaded.split()
    assert code == "0"
    assert not HEAVY & set(names)
    said = " ".join(" ".join(text).split())
    assert all(f" {command} " in said for command in COMMANDS)
    assert all(f"{number} " in said for number in (0, 1, 2, 3, 4, 5, 6, 130))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli, command):
    done = cli(command, "--help")
    assert done.code == 0
    assert "Usage" in done.out
    assert not done.err


def test_the_version_is_printed(cli):
    assert cli("--version").out == f"{__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["run"],
        ["run", "fp32", "--no-such-option"],
        ["run", "fp32", "--limit", "0"],
        ["run", "fp32", "--limit", "many"],
        ["run", "fp32", "--threads", "0"],
        ["run", "fp32", "--batch-size", "0"],
        ["run", "fp32", "--batch-size", "automatic"],
        ["run", "fp32", "--provider", "tpu"],
        ["transcribe", "x", "y.wav", "--task", "sing"],
        ["eval", "x", "--provider", "tpu"],
        ["recipes", "list", "more"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_how_it_goes(cli, arguments):
    done = cli(*arguments)
    assert done.code == 2
    assert "Usage" in done.err
    assert not done.out
    assert "Traceback" not in done.err


def test_json_goes_alone_to_stdout(cli, finished, artifact, model):
    _, ran = finished
    assert ran.json == json.loads((artifact / "results.json").read_text())
    assert set(cli("recipes", "list", "--json").json) == set(list_recipes())
    assert cli("schema").json["title"]
    valid = cli("validate", "int8_dynamic", "--model", model, "--json").json
    assert valid["valid"] is True
    assert all(valid["selected"])
    assert cli("doctor", "--json").json["environment"]["package_version"] == __version__
    measured = cli("eval", artifact, "--limit", 3, "--json").json
    assert measured["eval"] == ran.json["candidate"]["eval"]  # found again, not measured again
    assert measured["limit"] == 3


def test_what_is_read_by_people_is_no_json(cli, artifact, model):
    assert "int8_dynamic\n    " in cli("recipes", "list").out
    assert cli("recipes", "show", "fp32").out == list_recipes()["fp32"].read_text()
    assert "valid" in cli("validate", "fp32", "--model", model).out
    said = cli("eval", artifact, "--limit", 3).out
    assert said.startswith("WER 90.91% on 3 utterances of demo")
    assert "synthetic" in said
    assert "--limit 3: not comparable" in said
    assert "no problem found" in cli("doctor").out


def test_a_local_model_is_known_by_its_name_alone(artifact, model, finished):
    results = finished[1].json
    assert results["model"]["id"] == model.name
    assert json.loads((artifact / "manifest.json").read_text())["model"]["id"] == model.name
    assert results["recipe"]["overrides"] == []
    for path in artifact.rglob("*"):
        assert path.is_dir() or str(model.parent).encode() not in path.read_bytes(), path


def test_progress_goes_to_stderr_line_by_line(finished):
    lines = finished[1].err.splitlines()
    assert "candidate: verify 10/10" in lines
    assert "candidate: evaluate 3/3" in lines
    assert not any("\r" in line or "\x1b" in line for line in lines)


def read_terminal(*arguments, cwd, stdout=None, **environment):
    """What a command writes to a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"TERM": "xterm-256color"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout or theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while block := os.read(ours, 65536):
            said += block
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    return process.wait(), said.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")


def test_no_color_is_honoured_on_a_terminal(tmp_path):
    code, said = read_terminal("--help", cwd=tmp_path, NO_COLOR="")
    assert code == 0
    assert COLOUR.search(said), "the test would pass on anything"
    code, said = read_terminal("--help", cwd=tmp_path, NO_COLOR="1")
    assert code == 0
    assert not COLOUR.search(said)


def test_bars_are_drawn_on_a_terminal_and_stdout_stays_clean(finished, model, tmp_path):
    here, ran = finished
    with (tmp_path / "stdout").open("w+") as stdout:
        code, said = read_terminal(
            "run", "int8_dynamic", "--model", model, "--limit", 3, "--out", "again", "--json", cwd=here, stdout=stdout
        )
        assert code == 0
        stdout.seek(0)
        assert json.load(stdout)["candidate"] == ran.json["candidate"]
    assert "\x1b" in said
    assert "write report" in said


CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, FastWhisperError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_ends_with_its_documented_code(cli, monkeypatch, kind):
    monkeypatch.setattr(recipe, "list_recipes", fails(kind("it broke", place="here.yaml:3", remedy="mend it")))
    done = cli("recipes", "list")
    done.refused(kind.exit_code)
    assert done.err == "error: here.yaml:3: it broke\n  remedy: mend it\n"


def fails(error):
    def function(*_):
        raise error

    return function


def test_a_bug_is_called_one(cli, monkeypatch):
    monkeypatch.setattr(recipe, "list_recipes", fails(AttributeError("nobody thought of this")))
    done = cli("recipes", "list")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "nobody thought of this" in done.err
    assert done.err.splitlines()[-1].startswith("this is a bug")


def test_no_memory_is_a_matter_of_resources(cli, monkeypatch):
    monkeypatch.setattr(recipe, "list_recipes", fails(MemoryError()))
    cli("recipes", "list").refused(6, "out of memory")


def test_ctrl_c_ends_with_130(cli, monkeypatch):
    monkeypatch.setattr(recipe, "list_recipes", fails(KeyboardInterrupt()))
    done = cli("recipes", "list")
    assert (done.code, done.err) == (130, "interrupted\n")


@pytest.mark.parametrize("arguments", [["schema"], ["recipes", "list"], ["doctor", "--json"]])
def test_a_reader_that_goes_away_is_no_failure(tmp_path, arguments):
    with start(*arguments, cwd=tmp_path) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, "")


def test_progress_that_nobody_reads_does_not_end_the_run(finished, model):
    here, ran = finished
    arguments = ("run", "int8_dynamic", "--model", model, "--limit", 3, "--out", "unread", "--json")
    with start(*arguments, cwd=here) as process:
        process.stderr.close()
        assert json.loads(process.stdout.read())["candidate"] == ran.json["candidate"]
    assert process.returncode == 0


def test_a_hub_id_that_is_nowhere_is_refused_at_once(tmp_path):
    before = os.times()
    done = terminal("run", "fp32", "--model", "someone/whisper-nowhere", "--offline", cwd=tmp_path)
    after = os.times()
    done.refused(6, "someone/whisper-nowhere", "offline", "pass a folder")
    # processor time, because a busy machine says nothing about the program
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2
    assert list(tmp_path.iterdir()) == []

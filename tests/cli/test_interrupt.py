"""Ctrl-C at any moment: 130, a word on how to go on, everything as it was, nobody left running."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from terminal import snapshot, start, terminal

ARGUMENTS = ("run", "int8_dynamic", "--out", "out")


def interrupt(process, line):
    """Press Ctrl-C once the program says a line: the signal goes to the whole group, as from a terminal."""
    said = []
    for words in process.stderr:
        said.append(words)
        if words.strip() == line:
            break
    else:
        raise AssertionError("".join(said))
    os.killpg(process.pid, signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    assert not out
    return rest


def group_of(leader):
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


@pytest.mark.parametrize("moment", ["open checkpoint", "baseline: verify 2/10"])
def test_while_the_artifact_is_made(model, tmp_path, cache, moment):
    with start(*ARGUMENTS, "--model", model, cwd=tmp_path) as process:
        rest = interrupt(process, moment)
    assert process.returncode == 130, rest
    assert "run the same command to go on" in rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
    made = cache / "stages" / "artifact"
    assert not made.exists() or list(made.iterdir()) == []
    assert group_of(process.pid) == []


def test_while_it_is_measured_and_then_gone_on_with(finished, model, tmp_path):
    out = tmp_path / "out"
    arguments = (*ARGUMENTS, "--model", model)
    assert terminal(*arguments, "--limit", 3, cwd=tmp_path).code == 0  # an earlier run, made of finished stages
    earlier = snapshot(out)
    arguments = (*arguments, "--limit", 40, "--json")
    with start(*arguments, cwd=tmp_path) as process:
        rest = interrupt(process, "baseline: evaluate 12/40")
    assert process.returncode == 130, rest
    assert "run the same command to go on" in rest
    assert "Traceback" not in rest
    assert snapshot(tmp_path) == {"out": None} | {f"out/{name}": content for name, content in earlier.items()}
    deadline = time.monotonic() + 10
    while group_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert group_of(process.pid) == []

    done = terminal(*arguments, cwd=tmp_path)
    assert done.code == 0, done.err
    found = done.json["baseline"]["eval"]
    assert found["n_utterances"] == 40
    assert 12 <= found["resumed_rows"] < 40
    assert "baseline: evaluate 1/40" not in done.err.splitlines()
    assert done.json["candidate"]["eval"]["resumed_rows"] == 0
    assert snapshot(out) != earlier

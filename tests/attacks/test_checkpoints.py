"""Checkpoints come from strangers: what is hostile is refused before it runs or costs memory."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from checkpoint_files import FILES
from pickles import archive, one, tensor
from terminal import terminal

from fastwhisper_compress.checkpoint.open import open_checkpoint

ALLOWANCE = 256_000_000


@pytest.fixture(scope="module")
def endings(attacked, hf, tmp_path_factory):
    """How `run` ended with each of the files, and what code of theirs would have touched."""
    commands, traps = {}, tmp_path_factory.mktemp("traps")
    for number, (name, make) in enumerate(FILES.items()):
        folder = tmp_path_factory.mktemp("attack")
        path = make(folder, hf, str(traps / str(number)))
        commands[name] = (["run", "fp32", "--model", str(path), "--out", "out"], str(path))
    usual = tmp_path_factory.mktemp("usual") / "model.pt"
    warm_up = [["run", "fp32", "--model", str(path)] for path in (archive(usual, one(tensor())), hf.parent)]
    return attacked(commands, warm_up), traps


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_checkpoint_is_refused(endings, name):
    found = endings[0][name]
    assert found["code"] == 5, found["said"][-2000:]
    message = found["said"].partition("error: ")[2]
    assert "\n  remedy: " in message
    assert len(message) < 2000
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", message)
    assert found["grown"] < found["size"] + ALLOWANCE


def test_no_code_of_a_checkpoint_has_run(endings):
    assert len(FILES) >= 30
    assert not list(endings[1].iterdir())


def test_what_code_of_theirs_would_touch_can_be_touched(tmp_path):
    """The traps are where a pickle could set them off."""
    import pickle

    path = FILES["a bare pickle"](tmp_path, None, str(tmp_path / "trap"))
    pickle.loads(path.read_bytes())
    assert (tmp_path / "trap").exists()


@pytest.mark.parametrize("command", [["run", "fp32", "--model"], ["plan", "fp32", "--model"]])
def test_a_fresh_process_ends_the_same_way(command, tmp_path):
    trap = tmp_path / "trap"
    path = FILES["pickle: posix.system"](tmp_path, None, str(trap))
    terminal(*command, path, cwd=tmp_path).refused(5, "posix.system", "it may run code")
    assert not trap.exists()


def test_an_innocent_model_beside_hostile_code_is_opened_and_nothing_runs(hf, tmp_path):
    folder = shutil.copytree(hf, tmp_path / "hf")
    (folder / "modeling.py").write_text(f"import os; os.mkdir({str(tmp_path / 'trap')!r})")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "modeling.Model"}}))
    assert open_checkpoint(str(folder)).digest == open_checkpoint(str(hf)).digest
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_loops_of_links_are_no_files(cli, hf, tmp_path, name):
    folder = shutil.copytree(hf, tmp_path / "hf")
    (folder / name).unlink()
    (folder / name).symlink_to(name)
    cli("run", "fp32", "--model", folder).refused(2, str(folder))


def test_weights_in_the_cache_of_the_hub_are_links_and_are_read(hf, tmp_path):
    folder = shutil.copytree(hf, tmp_path / "snapshot")
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert open_checkpoint(str(folder)).digest == open_checkpoint(str(hf)).digest

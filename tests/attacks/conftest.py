"""Innocent models and artifacts, small enough to be spoiled a hundred times, and one process that is given all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from small_whisper import small_checkpoint, uniform_plan, write_artifact

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent.with_name("cli")))
sys.path.append(str(Path(__file__).parent.with_name("checkpoint")))
from terminal import Done

from fastwhisper_compress.cli import main
from fastwhisper_compress.emit.configs import generation_config, model_config

TINY = {"d_model": 16, "encoder_layers": 1, "encoder_ffn": 32, "decoder_ffn": 32}


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """A function: arguments -> how the command ended, in an empty working folder."""
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


@pytest.fixture(scope="session")
def hf(tmp_path_factory):
    """The folder of an innocent Hugging Face model."""
    checkpoint = small_checkpoint(**TINY, n_vocab=2000)  # room for the timestamps
    tokenizer = json.loads(checkpoint.tokenizer_json)
    tokenizer["added_tokens"].append({"id": checkpoint.decoding.sot_prev, "content": "<|startofprev|>"})
    folder = tmp_path_factory.mktemp("innocent")
    (folder / "config.json").write_text(json.dumps(model_config(checkpoint)))
    (folder / "generation_config.json").write_text(json.dumps(generation_config(checkpoint)))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    save_file({f"model.{name}": value for name, value in checkpoint.tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def innocent_artifact(tmp_path_factory):
    """The folder of an innocent artifact."""
    checkpoint = small_checkpoint(**TINY)
    folder = tmp_path_factory.mktemp("innocent") / "artifact"
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder)
    return folder


@pytest.fixture(scope="session")
def attacked(tmp_path_factory):
    """A function: name to command -> name to how it ended, all in one fresh process whose memory is watched."""

    def attacked_(commands, warm_up):
        here = tmp_path_factory.mktemp("attacked")
        (here / "commands.json").write_text(json.dumps({"warm_up": warm_up, "commands": commands}))
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("attacked.py"))],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return attacked_

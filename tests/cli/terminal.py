"""The program as a user starts it, and models small enough to do so often; shared by several test folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save_file
from small_whisper import saying, small_checkpoint

from fastwhisper_compress.checkpoint.decoding import decoding_from_tokenizer
from fastwhisper_compress.checkpoint.tokenizer import begin_suppress_ids, released_tokenizer, suppress_ids
from fastwhisper_compress.emit.configs import generation_config, model_config

COMMAND = (sys.executable, "-m", "fastwhisper_compress")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, all of it, as JSON."""
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> None:
        """Check that this was a typed error: code, words of it, a remedy, no traceback, nothing on stdout."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        assert not self.out
        message = self.err[self.err.index("error: ") :]
        assert "\n  remedy: " in message
        for word in words:
            assert word in message


def start(
    *arguments: object, cwd: Path, stdin: int | BinaryIO = subprocess.DEVNULL, **environment: str
) -> subprocess.Popen[str]:
    """Start a command as the leader of a process group, as a shell does."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def terminal(*arguments: object, cwd: Path, timeout: float = 240, **environment: str) -> Done:
    """Run a command to its end."""
    with start(*arguments, cwd=cwd, **environment) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Done(process.returncode, out, err)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: relative path to content, None for folders."""
    found = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in found}


def write_model(folder: Path, *, decisive: bool = True, seed: int = 0) -> Path:
    """Write a random Whisper of two small layers as a Hugging Face folder.

    A decisive one says `` the`` and ends, whatever it hears and however it is compressed; the other one babbles.
    """
    checkpoint = small_checkpoint(seed, n_vocab=51_864, n_audio_ctx=1500)
    tokenizer = released_tokenizer(checkpoint.dims, "test")
    decoding = decoding_from_tokenizer(
        tokenizer,
        checkpoint.dims,
        suppress=suppress_ids(checkpoint.dims),
        begin_suppress=begin_suppress_ids(checkpoint.dims),
        alignment_heads=(),
        place="test",
    )
    decoding = replace(decoding, max_length=checkpoint.dims.n_text_ctx)
    checkpoint = replace(checkpoint, tokenizer_json=tokenizer, decoding=decoding)
    if decisive:
        checkpoint = saying(checkpoint, 262)
    tensors = {name: np.array(value) for name, value in checkpoint.tensors.items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(model_config(checkpoint)))
    (folder / "generation_config.json").write_text(json.dumps(generation_config(checkpoint)))
    (folder / "tokenizer.json").write_bytes(tokenizer)
    save_file({f"model.{name}": value for name, value in tensors.items()}, folder / "model.safetensors")
    return folder

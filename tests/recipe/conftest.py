from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest


@dataclass(frozen=True)
class FakeModule:
    path: str
    kind: str


def whisper_modules(encoder_layers: int, decoder_layers: int) -> tuple[FakeModule, ...]:
    """The modules of a Whisper by path and kind, which is all that recipes look at."""
    found = [
        FakeModule("encoder.conv1", "conv"),
        FakeModule("encoder.conv2", "conv"),
        FakeModule("encoder.embed_positions", "positions"),
        FakeModule("decoder.embed_tokens", "embedding"),
        FakeModule("decoder.embed_positions", "positions"),
    ]
    sides = (("encoder", encoder_layers, ["self_attn"]), ("decoder", decoder_layers, ["self_attn", "encoder_attn"]))
    for side, layers, attentions in sides:
        for layer in (f"{side}.layers.{index}" for index in range(layers)):
            for attention in attentions:
                found.append(FakeModule(f"{layer}.{attention}", "attention"))
                names = ("q_proj", "k_proj", "v_proj", "out_proj")
                found += [FakeModule(f"{layer}.{attention}.{name}", "linear") for name in names]
                found.append(FakeModule(f"{layer}.{attention}_layer_norm", "layer_norm"))
            found += [FakeModule(f"{layer}.{name}", "linear") for name in ("fc1", "fc2")]
            found.append(FakeModule(f"{layer}.final_layer_norm", "layer_norm"))
        found.append(FakeModule(f"{side}.layer_norm", "layer_norm"))
    return tuple(found)


@pytest.fixture(scope="session")
def modules():
    """A model whose halves differ in depth, as in the distilled ones."""
    return whisper_modules(3, 2)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a recipe into the current folder and return its name there."""
    monkeypatch.chdir(tmp_path)

    def _write(text: str | bytes, name: str = "x.yaml") -> str:
        data = text if isinstance(text, bytes) else dedent(text).encode()
        Path(name).write_bytes(data)
        return name

    return _write

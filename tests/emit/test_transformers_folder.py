"""Folders for Hugging Face transformers: loaded by it and computing the compressed network, or refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_whisper import opened, recipe_plan, small_checkpoint, speech_like, uniform_plan
from transformers import WhisperForConditionalGeneration

from fastwhisper_compress.emit.transformers_folder import write_folder
from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.recipe import DropLayers, LowRank, Prune, Recipe

CHECKPOINT = small_checkpoint(4, encoder_layers=2, decoder_layers=2, encoder_ffn=320, decoder_ffn=256)


def made(*passes):
    return recipe_plan(CHECKPOINT, Recipe(version=1, name="test", passes=list(passes))).checkpoint


def test_transformers_loads_it_and_computes_what_the_graphs_do(tmp_path):
    compressed = made(
        DropLayers(decoder_keep=[1]),
        LowRank(variance=0.9, targets=["encoder.layers.1.self_attn"]),
        Prune(granularity="ffn", amount=0.4),
    )
    (tmp_path / "hf").mkdir()
    whole = write_folder(compressed, tmp_path / "hf")
    assert (whole.dims.encoder_ffn, whole.dims.decoder_ffn, whole.dims.decoder_layers) == (192, 160, 1)
    assert not [name for name in whole.tensors if "low_rank" in name]
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["encoder_ffn_dim"] == 192
    model, loading = WhisperForConditionalGeneration.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(loading.values()), loading
    artifact = opened(compressed, uniform_plan(compressed.dims), tmp_path / "a")
    samples = speech_like(0.5)
    with torch.no_grad():
        hidden = model.eval().model.encoder(torch.from_numpy(artifact.log_mel(samples))).last_hidden_state.numpy()
        ids = torch.tensor([[257, 270, *b"Words"]])
        logits = model(encoder_outputs=(torch.from_numpy(hidden),), decoder_input_ids=ids).logits[0, 1:].numpy()
    encoded = artifact.encode([samples], hidden=True)
    assert np.abs(encoded.hidden - hidden).max() < 2e-3
    assert np.abs(artifact.forced_logits(encoded, (257, 270), tuple(b"Words")) - logits).max() < 2e-3


@pytest.mark.parametrize(
    ("pass_", "place", "message"),
    [
        (Prune(granularity="heads", amount=0.5, targets=["decoder"]), "decoder.layers.0.self_attn", "attention heads"),
        (
            Prune(granularity="ffn", amount=0.5, targets=["encoder.layers.1"]),
            "encoder",
            "160, 320 feed-forward channels",
        ),
    ],
)
def test_what_transformers_cannot_hold_is_refused(pass_, place, message, tmp_path):
    with pytest.raises(UsageError, match=message) as caught:
        write_folder(made(pass_), tmp_path)
    assert caught.value.place == place
    assert "artifact of `run`" in caught.value.remedy
    assert not list(tmp_path.iterdir())

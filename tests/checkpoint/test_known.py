"""What is known of released models, against their own configurations."""

from __future__ import annotations

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from fastwhisper_compress.checkpoint.known import KNOWN, model_id, n_parameters
from fastwhisper_compress.checkpoint.open import open_checkpoint

# From the model cards' safetensors headers and openai-whisper's README, in millions.
PUBLISHED_M = {"tiny": 37.8, "base": 72.6, "small": 242, "medium": 764, "large-v3": 1543, "large-v3-turbo": 809}


@pytest.mark.parametrize("identifier", KNOWN)
def test_parameters_are_those_of_the_instantiated_model(identifier):
    dims = KNOWN[identifier]
    config = WhisperConfig(
        vocab_size=dims.n_vocab,
        num_mel_bins=dims.n_mels,
        d_model=dims.d_model,
        encoder_layers=dims.encoder_layers,
        decoder_layers=dims.decoder_layers,
        encoder_attention_heads=dims.encoder_heads,
        decoder_attention_heads=dims.decoder_heads,
        encoder_ffn_dim=dims.encoder_ffn,
        decoder_ffn_dim=dims.decoder_ffn,
        max_source_positions=dims.n_audio_ctx,
        max_target_positions=dims.n_text_ctx,
    )
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    assert sum(p.numel() for p in model.parameters()) == n_parameters(dims)


@pytest.mark.parametrize("name", ["tiny.en", "base"])
def test_dimensions_are_those_of_the_released_weights(name):
    assert open_checkpoint(name, offline=True).dims == KNOWN[model_id(name)]


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_M.items())
def test_parameters_are_those_published(name, millions):
    assert round(n_parameters(KNOWN[model_id(name)]) / 1e6, 1) == pytest.approx(millions, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("turbo", "openai/whisper-large-v3-turbo"),
        ("large", "openai/whisper-large-v3"),
        ("large-v1", "openai/whisper-large"),
        ("distil-large-v3", "distil-whisper/distil-large-v3"),
    ],
)
def test_short_names(name, identifier):
    assert model_id(name) == identifier
    assert identifier in KNOWN

"""Counts of saved activations, taken again with torch's own hooks on transformers' Whisper."""

from __future__ import annotations

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.known import KNOWN, n_parameters
from fastwhisper_compress.memory.training import estimate_training
from fastwhisper_compress.memory.working_set import Workload

BATCH, TOKENS = 2, 48


def dims(**changes) -> Dims:
    sizes = {"n_mels": 80, "n_vocab": 900, "d_model": 128, "encoder_layers": 3, "decoder_layers": 2}
    heads = {"encoder_heads": 2, "decoder_heads": 2, "encoder_ffn": 512, "decoder_ffn": 512}
    return Dims(**{**sizes, **heads, "n_audio_ctx": 400, "n_text_ctx": TOKENS, **changes})


def saved_bytes(of: Dims, *, checkpointing: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters left out and every storage counted once."""
    config = WhisperConfig(
        vocab_size=of.n_vocab,
        d_model=of.d_model,
        encoder_layers=of.encoder_layers,
        decoder_layers=of.decoder_layers,
        encoder_attention_heads=of.encoder_heads,
        decoder_attention_heads=of.decoder_heads,
        encoder_ffn_dim=of.encoder_ffn,
        decoder_ffn_dim=of.decoder_ffn,
        max_source_positions=of.n_audio_ctx,
        max_target_positions=of.n_text_ctx,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = WhisperForConditionalGeneration(config).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    parameters = {one.untyped_storage().data_ptr() for one in model.parameters()}
    kept, alive = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(
            input_features=torch.randn(BATCH, of.n_mels, 2 * of.n_audio_ctx),
            labels=torch.randint(2, of.n_vocab, (BATCH, TOKENS)),
            use_cache=False,
        )
    return sum(kept.values())


@pytest.mark.parametrize(
    "changes", [{}, {"encoder_layers": 6}, {"decoder_layers": 5}, {"encoder_ffn": 256}, {"n_vocab": 3000}]
)
def test_activations_kept_for_the_backward_pass(changes):
    of = dims(**changes)
    told = estimate_training(of, Workload(BATCH, tokens=TOKENS), amp=False)
    assert told.activations == pytest.approx(saved_bytes(of, checkpointing=False), rel=0.03)


def test_checkpointing_keeps_the_input_of_each_layer():
    of = dims(encoder_layers=6, decoder_layers=4)
    told = estimate_training(of, Workload(BATCH, tokens=TOKENS), amp=False)
    one_layer = 17 * BATCH * of.n_audio_ctx * of.d_model * 4  # of which one is recomputed in full at a time
    assert told.activations_checkpointed - one_layer == pytest.approx(saved_bytes(of, checkpointing=True), rel=0.05)


def test_what_training_adds_to_the_weights():
    base = KNOWN["openai/whisper-base"]
    told = estimate_training(base, Workload(batch=8, tokens=64), amp=False)
    assert told.weights == told.gradients == told.optimiser // 2 == 4 * n_parameters(base)
    assert told.activations_checkpointed < 0.4 * told.activations
    assert told.peak(checkpointing=True) < told.peak(checkpointing=False)
    half = estimate_training(base, Workload(batch=8, tokens=64), amp=True)
    assert half.weights == 6 * n_parameters(base)
    assert half.activations < 0.75 * told.activations

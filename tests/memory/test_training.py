"""Counts of saved activations, taken again with torch's own hooks on the network that is trained."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from small_whisper import small_checkpoint

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.known import KNOWN, n_parameters
from fastwhisper_compress.memory.training import estimate_training, fitting_clips
from fastwhisper_compress.memory.working_set import Workload
from fastwhisper_compress.recipe import Distill
from fastwhisper_compress.training.lessons import Batch
from fastwhisper_compress.training.network import Network
from fastwhisper_compress.training.objective import Objective, teach

BATCH, TOKENS = 2, 48


def dims(**changes) -> Dims:
    sizes = {"n_mels": 80, "n_vocab": 900, "d_model": 128, "encoder_layers": 3, "decoder_layers": 2}
    heads = {"encoder_heads": 2, "decoder_heads": 2, "encoder_ffn": 512, "decoder_ffn": 512}
    return Dims(**{**sizes, **heads, "n_audio_ctx": 400, "n_text_ctx": TOKENS, **changes})


def saved_bytes(of: Dims, *, checkpointing: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters left out and every storage counted once."""
    checkpoint = small_checkpoint(**asdict(of))
    objective = Objective(Network(checkpoint, recompute=checkpointing), Distill(), None)
    tokens = torch.randint(2, of.n_vocab, (BATCH, TOKENS))
    batch = Batch(torch.randn(BATCH, of.n_mels, 2 * of.n_audio_ctx), (2 * of.n_audio_ctx,) * BATCH, tokens, tokens)
    taught = teach(Network(checkpoint), batch)
    parameters = {one.untyped_storage().data_ptr() for one in objective.parameters()}
    kept, alive = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = objective(batch, taught, None, heard=False)
    assert losses.kl.requires_grad
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
    one_layer = 16 * BATCH * of.n_audio_ctx * of.d_model * 4  # of which one is recomputed in full at a time
    assert told.activations_checkpointed - one_layer == pytest.approx(saved_bytes(of, checkpointing=True), rel=0.05)


def test_what_training_adds_to_the_weights():
    base = KNOWN["openai/whisper-base"]
    told = estimate_training(base, Workload(batch=8, tokens=64), amp=False)
    assert told.weights == told.gradients == told.optimiser // 2 == told.teacher == 4 * n_parameters(base)
    assert told.activations_checkpointed < 0.4 * told.activations
    assert told.peak(checkpointing=True) < told.peak(checkpointing=False)
    half = estimate_training(base, Workload(batch=8, tokens=64), amp=True)
    assert half.weights == 6 * n_parameters(base)
    assert half.activations < 0.75 * told.activations


def test_what_does_not_fit_is_halved_down_to_one_clip():
    base, work = KNOWN["openai/whisper-base"], Workload(batch=8, tokens=64)
    need = {n: estimate_training(base, Workload(n, tokens=64), amp=False).peak(checkpointing=False) for n in (8, 4)}
    how = {"amp": False, "checkpointing": False}
    assert fitting_clips(base, work, need[8], **how) == 8
    assert fitting_clips(base, work, need[8] - 1, **how) == 4
    assert fitting_clips(base, work, need[4] - 1, **how) == 2
    assert fitting_clips(base, work, 1, **how) == 1
    assert fitting_clips(base, work, need[4], amp=False, checkpointing=True) == 8

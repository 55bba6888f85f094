"""The network that is trained computes what transformers computes, and what the emitted graphs will."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan

from fastwhisper_compress.passes.prune import prune
from fastwhisper_compress.pipeline.reference import Reference
from fastwhisper_compress.recipe.shapes import Prune
from fastwhisper_compress.training.network import Network

TOKENS = (257, 270, 5, 9, 77, 130, 5)


def mel_of(checkpoint, frames, batch=1):
    rng = np.random.default_rng(frames)
    return rng.normal(0, 1, (batch, checkpoint.dims.n_mels, frames)).astype(np.float32)


@pytest.mark.parametrize("changes", [{}, {"encoder_layers": 1, "decoder_layers": 3, "encoder_heads": 4}])
def test_it_computes_what_transformers_does(changes):
    checkpoint = small_checkpoint(**changes)
    reference, network = Reference(checkpoint), Network(checkpoint)
    mel = mel_of(checkpoint, 2 * checkpoint.dims.n_audio_ctx)
    with torch.no_grad():
        hidden = network.encode(torch.from_numpy(mel))
        logits = network.decode(torch.tensor([TOKENS]), hidden)
    expected = reference.encode(mel)
    np.testing.assert_allclose(hidden, expected, atol=2e-5)
    np.testing.assert_allclose(logits[0, 1:], reference.logits(expected, TOKENS[:2], TOKENS[2:]), atol=2e-4)


def test_heads_and_channels_that_are_gone_are_only_shapes(tmp_path):
    checkpoint = small_checkpoint(encoder_heads=4, decoder_heads=4)
    for granularity, paths in (("heads", ["encoder.layers.0.self_attn"]), ("ffn", ["decoder.layers.0.fc1"])):
        checkpoint, _ = prune(checkpoint, Prune(granularity=granularity, amount=0.5), paths)
    artifact = opened(checkpoint, uniform_plan(checkpoint.dims), tmp_path / "pruned")
    network = Network(checkpoint)
    encoded = artifact.encode([speech_like(0.4)], frames=60, hidden=True)
    with torch.no_grad():
        hidden = network.encode(torch.from_numpy(artifact._encoding.windows([speech_like(0.4)], 60)))
        logits = network.decode(torch.tensor([TOKENS]), hidden)
    np.testing.assert_allclose(hidden, encoded.hidden, atol=1e-4)
    np.testing.assert_allclose(logits[0, 1:], artifact.forced_logits(encoded, TOKENS[:2], TOKENS[2:]), atol=1e-3)


def test_gradients_are_the_same_whether_activations_are_kept_or_recomputed():
    checkpoint, found = small_checkpoint(), []
    for recompute in (False, True):
        network = Network(checkpoint, recompute=recompute)
        hidden = network.encode(torch.from_numpy(mel_of(checkpoint, 40, batch=2)))
        network.decode(torch.tensor([TOKENS, TOKENS]), hidden).square().mean().backward()
        found.append({name: one.grad for name, one in network.named_parameters()})
    assert set(found[0]) == set(checkpoint.tensors), "every tensor is trained, under its own name"
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


def test_weights_come_back_as_they_went_in():
    checkpoint = small_checkpoint(dtype=np.float16)
    network = Network(checkpoint)
    assert network.state_dict().keys() == checkpoint.tensors.keys()
    for name, values in network.tensors().items():
        np.testing.assert_array_equal(values, checkpoint.tensors[name].astype(np.float32))


def test_inputs_of_linears_are_shown():
    checkpoint, seen = small_checkpoint(), {}
    network, wanted = Network(checkpoint), ["encoder.layers.1.self_attn.out_proj", "decoder.layers.0.fc2"]
    with network.watch(wanted, lambda path, x: seen.update({path: tuple(x.shape)})):
        network.decode(torch.tensor([TOKENS]), network.encode(torch.from_numpy(mel_of(checkpoint, 20))))
    assert seen == {wanted[0]: (1, 10, 128), wanted[1]: (1, len(TOKENS), 256)}

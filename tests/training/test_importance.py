"""Scores of heads and channels: what the loss would change by without them, to first order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_whisper import small_checkpoint
from torch.nn import functional

from fastwhisper_compress.training.importance import Heard, importances
from fastwhisper_compress.training.network import Network

CHECKPOINT = small_checkpoint(2, encoder_layers=1, decoder_layers=1)
RNG = np.random.default_rng(0)
CLIPS = [
    Heard(RNG.normal(0, 1, (80, 40)).astype(np.float32), (257, 270), text) for text in (tuple(b"words"), tuple(b"more"))
]


def loss(checkpoint, clip):
    """The mean cross entropy of a clip's text and its end, in this checkpoint."""
    network = Network(checkpoint)
    with torch.no_grad():
        hidden = network.encode(torch.from_numpy(clip.mel)[None])
        scores = network.decode(torch.tensor([[*clip.prompt, *clip.tokens]]), hidden)[0, len(clip.prompt) - 1 :]
        return float(functional.cross_entropy(scores.double(), torch.tensor([*clip.tokens, 256])))


@pytest.mark.parametrize(
    ("judged", "reader", "part", "width"),
    [
        ("encoder.layers.0.self_attn", "encoder.layers.0.self_attn.out_proj", 1, 64),
        ("decoder.layers.0.encoder_attn", "decoder.layers.0.encoder_attn.out_proj", 0, 64),
        ("decoder.layers.0.fc1", "decoder.layers.0.fc2", 17, 1),
    ],
)
def test_a_score_is_the_slope_of_the_loss_as_a_part_fades(judged, reader, part, width):
    """Scaling the columns that read a part scales its activations: the slope is that of the loss along them."""
    step, slopes = 1e-2, []
    for clip in CLIPS:
        losses = []
        for scale in (1 - step, 1 + step):
            weight = CHECKPOINT.tensors[f"{reader}.weight"].copy()
            weight[:, part * width : (part + 1) * width] *= np.float32(scale)
            losses.append(loss(CHECKPOINT.with_tensors({f"{reader}.weight": weight}), clip))
        slopes.append(abs(losses[1] - losses[0]) / (2 * step))
    assert importances(CHECKPOINT, CLIPS)[judged][part] == pytest.approx(np.mean(slopes), rel=0.02, abs=1e-6)


def test_every_head_and_channel_is_scored():
    found = importances(CHECKPOINT, CLIPS[:1])
    assert {path: len(scores) for path, scores in found.items()} == {
        "encoder.layers.0.self_attn": 2,
        "encoder.layers.0.fc1": 256,
        "decoder.layers.0.self_attn": 2,
        "decoder.layers.0.encoder_attn": 2,
        "decoder.layers.0.fc1": 256,
    }
    assert all(np.isfinite(scores).all() and scores.any() for scores in found.values())

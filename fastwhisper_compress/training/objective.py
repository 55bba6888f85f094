"""How far a student is from its teacher, as one number to make smaller (Hinton et al. 2015; Gandhi et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastwhisper_compress.recipe.learning import Training
from fastwhisper_compress.training.lessons import Batch
from fastwhisper_compress.training.network import Network


@dataclass(frozen=True)
class Taught:
    """What the teacher makes of a batch.

    Attributes:
        hidden: The encoder's output, (batch, audio, d_model).
        text: The decoder's output where something is asked, (m, d_model).
        logits: Its scores there, (m, vocab).
    """

    hidden: Tensor
    text: Tensor
    logits: Tensor


class Losses(NamedTuple):
    """Sums over a batch.

    Attributes:
        kl: Kullback-Leibler divergence from the teacher's scores, over tokens.
        ce: Cross entropy on the teacher's text, over tokens.
        hidden: Squared error of encoder and decoder outputs, as a share of the teacher's square, over clips.
    """

    kl: Tensor
    ce: Tensor
    hidden: Tensor


@torch.no_grad()
def teach(teacher: Network, batch: Batch) -> Taught:
    """Let the teacher hear the full window and read the text."""
    hidden = teacher.encode(batch.mel)
    text = teacher.read(batch.tokens, hidden)[batch.asked]
    return Taught(hidden, text, teacher.logits(text))


class Objective(nn.Module):
    """A student and what is asked of it: one module, so that gradients of several processes meet.

    Attributes:
        student: What is trained.
    """

    def __init__(self, student: Network, settings: Training, hidden_scale: Tensor | None) -> None:
        super().__init__()
        self.student = student
        self._settings = settings
        self._hidden_scale = hidden_scale

    def forward(self, batch: Batch, taught: Taught, window: int | None, *, heard: bool) -> Losses:
        """Return the losses of a batch.

        Args:
            batch: The clips.
            taught: What the teacher makes of them.
            window: How many frames the student is given; None is the full window.
            heard: Whether the student's encoder is the teacher's, so that its output is known already.
        """
        hidden = taught.hidden if heard else self.student.encode(_cut(batch, window))
        text = self.student.read(batch.tokens, hidden)[batch.asked]
        logits = self.student.logits(text).float()
        settings, zero = self._settings, logits.new_zeros(())
        return Losses(
            _divergence(logits, taught.logits.float(), settings.temperature) if settings.kl_weight else zero,
            functional.cross_entropy(logits, batch.targets[batch.asked], reduction="sum")
            if settings.ce_weight
            else zero,
            self._distance(batch, taught, hidden, text, heard=heard) if settings.hidden_weight else zero,
        )

    def _distance(self, batch: Batch, taught: Taught, hidden: Tensor, text: Tensor, *, heard: bool) -> Tensor:
        """Compare the outputs clip by clip: the encoder's over what is spoken, the decoder's over what is asked."""
        lengths = batch.asked.sum(dim=1).tolist()
        found = text.new_zeros((), dtype=torch.float32)
        pairs = zip(torch.split(text, lengths), torch.split(taught.text, lengths), strict=True)
        for mine, theirs in pairs:
            found = found + _share(mine, theirs)
        if heard:
            return found
        own = hidden if self._hidden_scale is None else hidden * self._hidden_scale
        for mine, theirs, frames in zip(own, taught.hidden, batch.frames, strict=True):
            audio = max(1, min(-(-frames // 2), len(mine)))
            found = found + _share(mine[:audio], theirs[:audio])
        return found


def _cut(batch: Batch, window: int | None) -> Tensor:
    """Cut the spectrograms to a window, with zeros behind each clip: what a runtime gives an elastic encoder."""
    if window is None or window >= batch.mel.shape[2]:
        return batch.mel
    mel = batch.mel[:, :, :window].clone()
    for row, frames in zip(mel, batch.frames, strict=True):
        row[:, frames:] = 0
    return mel


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the sum of KL(teacher || student) over rows, times the square of the temperature as gradients shrink by it."""
    mine, theirs = (functional.log_softmax(one / temperature, dim=-1) for one in (student, teacher))
    return temperature**2 * functional.kl_div(mine, theirs, reduction="sum", log_target=True)


def _share(mine: Tensor, theirs: Tensor) -> Tensor:
    """Return the squared distance as a share of the teacher's square."""
    mine, theirs = mine.float(), theirs.float()
    return (mine - theirs).square().sum() / theirs.square().sum().clamp_min(1e-12)

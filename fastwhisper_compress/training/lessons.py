"""What is learnt from: clips and the text that the teacher hears in them, drawn into batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastwhisper_compress.runtime.audio import MAX_CLIP_S, SAMPLE_RATE, read_audio

HOP = SAMPLE_RATE // 100  # samples a frame of the log-mel spectrogram
_POOL = 8  # batches whose clips are sorted by length together, so that a batch holds clips of like length
_UNCOUNTED = -1

Features = Callable[[np.ndarray], np.ndarray]
"""From samples to a log-mel spectrogram, float32 (n_mels, 3000)."""


@dataclass(frozen=True)
class Lesson:
    """A clip and what the teacher hears in it.

    Attributes:
        audio: The file.
        n_samples: Its length at 16 kHz.
        prompt: Tokens before the text.
        tokens: The text, its end not among them.
    """

    audio: str
    n_samples: int
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def frames(self) -> int:
        """How many frames of 10 ms the clip fills."""
        return -(-self.n_samples // HOP)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Lesson:
        """The inverse of :meth:`to_json`."""
        return cls(data["audio"], data["n_samples"], tuple(data["prompt"]), tuple(data["tokens"]))


@dataclass(frozen=True)
class Batch:
    """Some clips as tensors.

    Attributes:
        mel: float32 (batch, n_mels, 3000), the full window.
        frames: How many frames each clip fills.
        tokens: int64 (batch, n), what the decoder reads, filled up behind the end.
        targets: int64 (batch, n), what is to follow each of them; negative where nothing is asked.
    """

    mel: Tensor
    frames: tuple[int, ...]
    tokens: Tensor
    targets: Tensor

    @property
    def asked(self) -> Tensor:
        """Where something is asked: bool (batch, n)."""
        return self.targets != _UNCOUNTED


def collate(lessons: Sequence[Lesson], features: Features, eot: int, device: torch.device) -> Batch:
    """Read clips and return them as tensors.

    Raises:
        AudioError: A clip cannot be read any more.
    """
    mel = np.stack([features(read_audio(Path(one.audio), max_s=MAX_CLIP_S)) for one in lessons])
    length = max(len(one.prompt) + len(one.tokens) for one in lessons)
    tokens = np.full((len(lessons), length), eot, np.int64)
    targets = np.full((len(lessons), length), _UNCOUNTED, np.int64)
    for i, one in enumerate(lessons):
        text = [*one.prompt, *one.tokens]
        tokens[i, : len(text)] = text
        targets[i, len(one.prompt) - 1 : len(text)] = [*one.tokens, eot]
    sent = [torch.from_numpy(values).to(device) for values in (mel, tokens, targets)]
    return Batch(sent[0], tuple(one.frames for one in lessons), sent[1], sent[2])


def n_asked(lessons: Sequence[Lesson]) -> int:
    """Count the tokens that are asked for: those of the texts, and the end of each."""
    return sum(len(one.tokens) + 1 for one in lessons)


def draw(lessons: Sequence[Lesson], batch_size: int, step: int, seed: int) -> list[Lesson]:
    """Return the batch of a step, which depends on nothing but the arguments: a run goes on where it was killed.

    Every clip comes once before any comes again, and a batch holds clips of like length.
    """
    pool, within = divmod(step, _POOL)
    first = pool * _POOL * batch_size
    places = range(first, first + _POOL * batch_size)
    drawn = [lessons[_shuffled(len(lessons), seed, at // len(lessons))[at % len(lessons)]] for at in places]
    drawn.sort(key=lambda one: one.n_samples)
    batch = _shuffled(_POOL, seed, -1 - pool)[within]
    return drawn[batch * batch_size : (batch + 1) * batch_size]


def balanced(lessons: Sequence[Lesson], ranks: int) -> list[list[Lesson]]:
    """Share a batch among processes: as many clips for each, give or take one, and about as much audio."""
    most = -(-len(lessons) // ranks)
    shares: list[list[Lesson]] = [[] for _ in range(ranks)]
    for one in sorted(lessons, key=lambda one: -one.n_samples):
        room = [share for share in shares if len(share) < most]
        min(room, key=lambda share: sum(other.n_samples for other in share)).append(one)
    return shares


@lru_cache(maxsize=4)
def _shuffled(n: int, seed: int, round_: int) -> tuple[int, ...]:
    return tuple(int(i) for i in np.random.default_rng([seed, round_ % 2**32]).permutation(n))

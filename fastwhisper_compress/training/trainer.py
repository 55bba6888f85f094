"""The loop: draw a batch, compare student and teacher, change the weights; killed at any moment, it goes on where it was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.errors import DivergedError, OutOfMemoryError
from fastwhisper_compress.recipe.learning import ElasticContext, Qat, Training
from fastwhisper_compress.runtime.out_of_memory import recognised
from fastwhisper_compress.training.fake_quant import fakes_of
from fastwhisper_compress.training.lessons import Features, Lesson, balanced, collate, draw, n_asked
from fastwhisper_compress.training.log import Log, Point
from fastwhisper_compress.training.network import Network
from fastwhisper_compress.training.objective import Losses, Objective, teach
from fastwhisper_compress.training.ranks import Ranks, unsynchronised
from fastwhisper_compress.training.state import load_state, save_state

_FRAMES_A_SECOND = 100
_BETAS = (0.9, 0.98)
_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}

_Number = TypeVar("_Number", float, torch.Tensor)
Progress = Callable[[Point, int], None]
"""Called with the last step made and how many there are to be."""


class Trainer:
    """One training of one student."""

    def __init__(
        self,
        student: Checkpoint,
        teacher: Checkpoint,
        settings: Training,
        plan: Plan,
        trained: Sequence[str],
        lessons: Sequence[Lesson],
        features: Features,
        seed: int,
        micro_batch_size: int | None = None,
    ) -> None:
        """Make both networks.

        Args:
            student: The weights to start from.
            teacher: What they are to be like.
            settings: The recipe's pass.
            plan: How the student will be written.
            trained: Module paths whose weights may change.
            lessons: What is learnt from.
            features: Makes log-mel spectrograms.
            seed: Of the order of the clips.
            micro_batch_size: How many clips a process computes at once to begin with; None takes its whole share.
        """
        self._settings, self._student, self._lessons, self._features, self._seed = (
            settings, student, lessons, features, seed,
        )  # fmt: skip
        self._ranks = Ranks()
        device = self._ranks.device
        network = Network(student, recompute=settings.gradient_checkpointing)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(_is_part(name, trained))
        if isinstance(settings, Qat):
            network.fake_quantise(fakes_of(student, plan))
        self._network = network.to(device)
        self._teacher = Network(teacher).to(device).requires_grad_(requires_grad=False)
        scale = None if plan.hidden_scale is None else torch.from_numpy(plan.hidden_scale).to(device)
        self._objective = self._ranks.shared(Objective(self._network, settings, scale))
        self._parameters = [one for one in self._network.parameters() if one.requires_grad]
        # No weight decay: it would pull the weights away from what the teacher found.
        self._optimiser = torch.optim.AdamW(self._parameters, lr=0.0, betas=_BETAS, weight_decay=0.0)
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.mixed_precision == "fp16")
        self._micro = micro_batch_size or -(-settings.batch_size // self._ranks.size)
        # Where the student's encoder is the teacher's and stays so, one encoder works for both.
        self._heard = plan.hidden_scale is None and not isinstance(settings, ElasticContext | Qat) and _same_encoder(
            student, teacher, trained
        )  # fmt: skip

    def run(self, folder: Path, progress: Progress) -> tuple[Checkpoint, Log]:
        """Train, keeping the state in a folder, or go on from the state that is there.

        Returns:
            The trained weights and the log; in processes other than the first too.

        Raises:
            DivergedError: The loss is no longer a number; the last good state is kept.
            OutOfMemoryError: There is not enough for a single clip.
        """
        steps = self._settings.steps
        done = load_state(folder, self._network, self._optimiser, self._scaler)
        self._ranks.wait()  # all have read before any writes
        log = Log(folder, upto=done) if self._ranks.first else None
        for step in range(done, steps):
            point = self._step(step, folder)
            if log is not None:
                log.add(point)
                progress(point, steps)
                if point.step % self._settings.checkpoint_every == 0 or point.step == steps:
                    save_state(folder, point.step, self._network, self._optimiser, self._scaler)
        self._ranks.wait()
        return self._student.with_tensors(self._network.tensors()), Log(folder, upto=steps) if log is None else log

    def _step(self, step: int, folder: Path) -> Point:
        """Make one step, in smaller parts if memory runs out."""
        start = time.perf_counter()
        rate = self._rate(step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = draw(self._lessons, self._settings.batch_size, step, self._seed)
        while True:
            try:
                with recognised("training"):
                    loss, parts = self._gradients(batch, self._window(batch, step))
                break
            except OutOfMemoryError as error:
                self._use_less(error)
        self._check(loss, step, "the loss", folder)
        self._scaler.unscale_(self._optimiser)
        norm = float(clip_grad_norm_(self._parameters, self._settings.clip_norm))
        if not self._scaler.is_enabled():  # which has its own way with an overflow: it leaves the step out
            self._check(norm, step, "the gradient", folder)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        told = norm if math.isfinite(norm) else None
        return Point(step + 1, loss, *parts, grad_norm=told, learning_rate=rate, seconds=time.perf_counter() - start)

    def _gradients(self, batch: Sequence[Lesson], window: int | None) -> tuple[float, tuple[float, float, float]]:
        """Leave the gradient of a batch in the parameters; return its loss and the three parts."""
        settings, device, size = self._settings, self._ranks.device, self._ranks.size
        self._optimiser.zero_grad(set_to_none=True)
        mine = balanced(batch, size)[self._ranks.rank]
        chunks = [mine[at : at + self._micro] for at in range(0, len(mine), self._micro)]
        per = torch.tensor([n_asked(batch), n_asked(batch), len(batch)], dtype=torch.float64, device=device)
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        eot = self._student.decoding.eot
        kind = _TYPES.get(settings.mixed_precision)
        for number, lessons in enumerate(chunks):
            clips = collate(lessons, self._features, eot, device)
            with torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None):
                taught = teach(self._teacher, clips)
                with unsynchronised(self._objective, last=number + 1 == len(chunks)):
                    losses: Losses = self._objective(clips, taught, window, heard=self._heard)
                    # The processes' gradients are averaged, their sums are what is wanted.
                    loss = size * self._weighted([part / n for part, n in zip(losses, per.tolist(), strict=True)])
                    self._scaler.scale(loss).backward()
            sums += torch.stack([part.detach().double() for part in losses])
        means = (self._ranks.summed(sums) / per).tolist()
        return float(self._weighted(means)), (means[0], means[1], means[2])

    def _weighted(self, parts: Sequence[_Number]) -> _Number:
        settings = self._settings
        return settings.kl_weight * parts[0] + settings.ce_weight * parts[1] + settings.hidden_weight * parts[2]

    def _use_less(self, error: OutOfMemoryError) -> None:
        """Halve what is computed at once, or raise the error if nothing can be halved."""
        self._optimiser.zero_grad(set_to_none=True)
        if self._micro == 1 or self._ranks.size > 1:  # of several processes, the others are waiting for this one
            raise OutOfMemoryError(
                error.message,
                place=f"{self._settings.pass_}, {self._micro} clips at once",
                remedy="set a smaller micro_batch_size, which changes no result, and gradient_checkpointing: true",
                requested_bytes=error.requested_bytes,
            ) from error
        self._micro = -(-self._micro // 2)
        if self._ranks.device.type == "cuda":
            torch.cuda.empty_cache()

    def _rate(self, step: int) -> float:
        settings = self._settings
        if step < settings.warmup_steps:
            return settings.learning_rate * (step + 1) / settings.warmup_steps
        left = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * left))

    def _window(self, batch: Sequence[Lesson], step: int) -> int | None:
        """Draw how many frames an elastic encoder is given: half of the time the least, a quarter all, else something between."""
        if not isinstance(self._settings, ElasticContext):
            return None
        most = 2 * self._student.dims.n_audio_ctx
        least = max(one.frames for one in batch) + round(_FRAMES_A_SECOND * self._settings.margin_s)
        drawn = np.random.default_rng([self._seed, step]).uniform(-2, 2)  # half of it below 0, a quarter above 1
        wanted = least + round(float(np.clip(drawn, 0, 1)) * max(0, most - least))
        return min(most, wanted + wanted % 2)

    def _check(self, value: float, step: int, what: str, folder: Path) -> None:
        if math.isfinite(value):
            return
        every = self._settings.checkpoint_every
        kept = step // every * every
        raise DivergedError(
            f"{what} is not a number any more",
            place=f"{self._settings.pass_}, step {step + 1}",
            remedy=f"lower learning_rate ({self._settings.learning_rate:g}) or clip_norm ({self._settings.clip_norm:g})"
            + (", or set mixed_precision: no" if self._settings.mixed_precision != "no" else "")
            + (f"; the weights after step {kept} are kept in {folder}" if kept else ""),
        )


def _is_part(name: str, paths: Sequence[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)


def _same_encoder(student: Checkpoint, teacher: Checkpoint, trained: Sequence[str]) -> bool:
    """Say whether the student's encoder is the teacher's, and none of it is trained."""
    names = [{name for name in one.tensors if name.startswith("encoder.")} for one in (student, teacher)]
    return (
        names[0] == names[1]
        and not any(_is_part(name, trained) for name in names[0])
        and all(np.array_equal(student.tensors[name], teacher.tensors[name]) for name in names[0])
    )

"""Run a training in this process, or in several on this machine that share every batch."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress import errors
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.errors import FastWhisperError, ProviderError
from fastwhisper_compress.memory.limits import available_bytes
from fastwhisper_compress.memory.training import fitting_clips
from fastwhisper_compress.memory.working_set import Workload
from fastwhisper_compress.pipeline.reference import reference_log_mel
from fastwhisper_compress.recipe.learning import Training
from fastwhisper_compress.resources import usable_cpus
from fastwhisper_compress.runtime.memory import return_large_blocks

if TYPE_CHECKING:
    from fastwhisper_compress.training.lessons import Lesson
    from fastwhisper_compress.training.log import Point

_POLL_S = 0.5
Progress = Callable[["Point", int], None]


@dataclass(frozen=True)
class Job:
    """What a process must know; it goes through a pipe, so it holds no functions.

    Attributes:
        settings: The recipe's pass.
        trained: Module paths whose weights may change.
        student: The weights to start from.
        teacher: What they are to be like.
        plan: How the student will be written.
        lessons: What is learnt from.
        seed: Of the order of the clips.
        folder: Where the state and the log are kept.
    """

    settings: Training
    trained: tuple[str, ...]
    student: Checkpoint
    teacher: Checkpoint
    plan: Plan
    lessons: Sequence[Lesson]
    seed: int
    folder: Path


def check_device(settings: Training) -> None:
    """Refuse a precision that this machine cannot train in.

    Raises:
        ProviderError: FP16 without a GPU.
    """
    import torch

    if settings.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise ProviderError(
            "fp16 is for GPUs, and torch sees none on this machine",
            place=f"{settings.pass_}.mixed_precision",
            remedy="set it to bf16, which processors with AMX or AVX512-BF16 compute fast, or to no",
        )


def train_together(job: Job, processes: int, progress: Progress) -> None:
    """Train a student; the weights and the log are in the job's folder afterwards.

    Args:
        job: The training.
        processes: How many processes share the work.
        progress: Called with the last step made and how many there are to be.

    Raises:
        FastWhisperError: As :meth:`fastwhisper_compress.training.trainer.Trainer.run`.
    """
    if processes == 1:
        _train(job, 1, progress)
        return
    from torch import multiprocessing
    from torch.multiprocessing.spawn import start_processes

    from fastwhisper_compress.training.log import read_log

    failures = multiprocessing.get_context("spawn").SimpleQueue()
    arguments = (job, processes, _free_port(), failures)
    group = start_processes(  # type: ignore[no-untyped-call]
        _work, arguments, processes, join=False, daemon=True, start_method="spawn"
    )
    told, ended = 0, False
    try:
        while not ended:
            ended = group.join(_POLL_S)
            points = read_log(job.folder)
            if points and points[-1].step != told:
                told = points[-1].step
                progress(points[-1], job.settings.steps)
    except Exception as error:
        if failures.empty():
            raise
        name, message, place, remedy = failures.get()
        raise getattr(errors, name)(message, place=place, remedy=remedy) from error


def _train(job: Job, processes: int, progress: Progress) -> None:
    from fastwhisper_compress.training.trainer import Trainer

    return_large_blocks()  # activations of a step are many and of many sizes, and would leave holes between them
    dims = job.student.dims

    def features(samples: Any) -> Any:
        return reference_log_mel(samples, dims.n_mels)[:, : 2 * dims.n_audio_ctx]

    trainer = Trainer(
        job.student, job.teacher, job.settings, job.plan, job.trained, job.lessons, features, job.seed, _clips(job, processes)
    )  # fmt: skip
    trainer.run(job.folder, progress)


def _work(rank: int, job: Job, processes: int, port: int, failures: Any) -> None:
    """Be one of several processes. An error of ours goes to the first as what it says: whatever else was raised is a bug."""
    import torch

    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    torch.set_num_threads(max(1, len(usable_cpus()) // processes))
    try:
        _train(job, processes, lambda *_: None)
    except FastWhisperError as error:
        failures.put((type(error).__name__, error.message, error.place, error.remedy))
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _clips(job: Job, processes: int) -> int:
    """Return how many clips a process is to compute at once: its share, or as much of it as fits the memory there is."""
    import torch

    settings = job.settings
    share = min(settings.micro_batch_size or settings.batch_size, -(-settings.batch_size // processes))
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else available_bytes() // processes
    longest = max(len(one.prompt) + len(one.tokens) for one in job.lessons)
    return fitting_clips(
        job.student.dims,
        Workload(share, tokens=longest),
        free,
        amp=settings.mixed_precision != "no",
        checkpointing=settings.gradient_checkpointing,
        teacher=job.teacher.dims,
    )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port

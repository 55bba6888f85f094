"""Transcribe files with an artifact: clips in batches, errors beside them, and memory by phase if that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastwhisper_compress.errors import AudioError, BackendError, FastWhisperError, OutOfMemoryError
from fastwhisper_compress.evaluation.memory_probe import VideoMemory
from fastwhisper_compress.evaluation.memory_trace import MemoryTrace
from fastwhisper_compress.pipeline.advice import with_advice
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.audio import MAX_CLIP_S, read_audio
from fastwhisper_compress.runtime.batching import Clip, Heard, OnShrink, transcribe_all
from fastwhisper_compress.runtime.manifest import BatchSize, read_manifest
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcript import Transcript


@dataclass(frozen=True)
class Job:
    """What is to be transcribed, and how.

    Attributes:
        artifact: The ``--out`` folder of a run.
        files: Audio files of at most 30 s.
        language: Code such as ``de``; None lets a multilingual model detect it.
        task: ``transcribe`` or ``translate``.
        provider: None takes what the artifact was written for.
        backend: What runs the encoder.
        threads: Of the CPU provider; None takes one a core.
        batch_size: Clips decoded together, or ``auto``; None takes what the recipe said.
    """

    artifact: Path
    files: Sequence[Path]
    language: str | None = None
    task: str = "transcribe"
    provider: str | None = None
    backend: str = "onnxruntime"
    threads: int | None = None
    batch_size: BatchSize | None = None


def transcribe_files(
    job: Job, *, on_shrink: OnShrink, on_auto: Callable[[str], None], trace: MemoryTrace | None = None
) -> Iterator[tuple[Path, Heard[Transcript] | FastWhisperError]]:
    """Transcribe files in order.

    Args:
        job: What to do.
        on_shrink: Told when memory ran out, and with how many clips it goes on.
        on_auto: Told what ``auto`` came to, and why.
        trace: Follows memory by phase; started by the caller before anything was imported.

    Yields:
        Each file with what was heard, or with the error that kept it from being heard.

    Raises:
        OutOfMemoryError: There is not enough memory for one clip.
        FastWhisperError: The artifact cannot be loaded, or the language or task is none of its.
    """
    manifest = read_manifest(job.artifact, job.provider)
    size = job.batch_size or manifest.batch_size
    if size == "auto":  # the estimate is not imported for nothing: this process is measured
        from fastwhisper_compress.pipeline.auto_batch import settle_batch

        size, _ = settle_batch(size, [job.artifact], threads=job.threads, tell=on_auto)
    if trace:
        if manifest.provider == "cuda":
            trace.video = VideoMemory()
        trace.begin_load(job.backend)
    try:
        model = load_artifact(job.artifact, threads=job.threads, provider=job.provider, backend=job.backend)
        if trace:
            trace("idle")
            model.on_phase = trace
        options = Options(language=job.language, task=job.task)
        clips = (_read(file, options) for file in job.files)
        heard = transcribe_all(model, clips, size, on_shrink=on_shrink)
        for file, found in zip(job.files, heard, strict=True):
            if isinstance(found, FastWhisperError):
                found.place = found.place or str(file)
            yield file, found
    except OutOfMemoryError as error:
        raise with_advice(error, job.artifact) from error


def _read(file: Path, options: Options) -> Clip | FastWhisperError:
    try:
        return Clip(read_audio(file, max_s=MAX_CLIP_S), options)
    except (AudioError, BackendError) as error:  # BackendError: one format needs an optional package
        return error

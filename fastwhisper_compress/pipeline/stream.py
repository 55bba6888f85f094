"""Transcribe a stream while it comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fastwhisper_compress.errors import OutOfMemoryError
from fastwhisper_compress.pipeline.advice import with_advice
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.transcription.arriving import Source
from fastwhisper_compress.transcription.streaming import Committed, transcribe_stream
from fastwhisper_compress.transcription.vad import SpeechDetector


@dataclass(frozen=True)
class StreamJob:
    """What transcribes a stream.

    Attributes:
        artifact: The ``--out`` folder of a run.
        language: Code such as ``de``; None detects it in every utterance.
        task: ``transcribe`` or ``translate``.
        provider: None takes what the artifact was written for.
        backend: What runs the encoder.
        threads: Of the CPU provider; None takes one a core.
    """

    artifact: Path
    language: str | None = None
    task: str = "transcribe"
    provider: str | None = None
    backend: str = "onnxruntime"
    threads: int | None = None


def stream_transcription(job: StreamJob, source: Source) -> Iterator[Committed]:
    """Load the artifact and transcribe a stream until it ends.

    Args:
        job: What to do it with.
        source: Where the audio comes from.

    Yields:
        What is committed, as it comes.

    Raises:
        StalledError: The stream has stalled; what was heard before has been committed.
        FastWhisperError: It broke otherwise; the artifact cannot be loaded; or the language or task is none of its.
    """
    try:
        model = load_artifact(job.artifact, threads=job.threads, provider=job.provider, backend=job.backend)
        options = Options(language=job.language, task=job.task)
        model.transcribe_batch([], replace(options, words=True))  # says now what it cannot do, not when somebody speaks
        yield from transcribe_stream(model, source, options, detector=SpeechDetector())
    except OutOfMemoryError as error:
        raise with_advice(error, job.artifact) from error

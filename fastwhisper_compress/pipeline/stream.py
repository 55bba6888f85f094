"""Transcribe what a pipe or a microphone brings, while it comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import OutOfMemoryError, UsageError
from fastwhisper_compress.pipeline.advice import with_advice
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.audio_blocks import AudioBlocks, open_stream
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.transcription.arriving import Arriving, Source
from fastwhisper_compress.transcription.microphone import microphone
from fastwhisper_compress.transcription.streaming import Committed, transcribe_stream
from fastwhisper_compress.transcription.vad import SpeechDetector

if TYPE_CHECKING:
    import numpy as np

STALL_S = 10.0  # a pipe from which nothing comes for so long has stalled


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


@contextmanager
def live_audio(name: str, *, rate: int | None = None) -> Iterator[Arriving]:
    """Open a stream and begin to read it.

    Args:
        name: ``-`` for standard input, or ``mic`` for the microphone.
        rate: In Hz, if standard input is raw PCM: 16 bits, little-endian, mono. None if it is a container.

    Raises:
        UsageError: There is no such stream.
        AudioError: Standard input is not audio, or there is no microphone.
        BackendError: An optional package is missing.
    """
    if name == "mic":
        with microphone() as blocks, Arriving(blocks) as source:
            yield source
    elif name == "-":
        # Unbuffered: a buffer's lock, held by the reader's thread when the program ends, would abort it.
        file = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - the thread may still read when we are done
        with Arriving(_closed_by_reader(open_stream(file, rate=rate, timeout_s=STALL_S))) as source:
            yield source
    else:
        raise UsageError(f"no stream {name!r}", place="--stream", remedy="use - for standard input, or mic")


def _closed_by_reader(blocks: AudioBlocks) -> Iterator[np.ndarray]:
    """Hand on blocks, and close them in the thread that reads them: nobody else knows that no read is going on."""
    with blocks:
        yield from blocks


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
        yield from transcribe_stream(model, source, options, detector=SpeechDetector())
    except OutOfMemoryError as error:
        raise with_advice(error, job.artifact) from error

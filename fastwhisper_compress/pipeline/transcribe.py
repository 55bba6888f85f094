"""Transcribe recordings of any length with an artifact, into files if that is asked for, so that it can be gone on with."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import AudioError, BackendError, FastWhisperError, OutOfMemoryError
from fastwhisper_compress.evaluation.memory_probe import VideoMemory
from fastwhisper_compress.evaluation.memory_trace import MemoryTrace
from fastwhisper_compress.pipeline.advice import shrunk, with_advice
from fastwhisper_compress.pipeline.transcripts import Outputs
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.audio_blocks import open_audio
from fastwhisper_compress.runtime.manifest import BatchSize, Manifest, read_manifest
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcriber import Transcriber
from fastwhisper_compress.transcription.in_sequence import transcribe_in_sequence
from fastwhisper_compress.transcription.journal import Journal, Task, fingerprint, open_journal
from fastwhisper_compress.transcription.packed import transcribe_packed
from fastwhisper_compress.transcription.recording import Recording, joined
from fastwhisper_compress.transcription.vad import SpeechDetector
from fastwhisper_compress.transcription.work import End, Event, Part, Reading

if TYPE_CHECKING:
    from fastwhisper_compress.memory.runtime import Backend


@dataclass(frozen=True)
class Job:
    """What is to be transcribed, and how.

    Attributes:
        artifact: The ``--out`` folder of a run.
        files: Recordings.
        language: Code such as ``de``; None lets a multilingual model detect it, in each file.
        task: ``transcribe`` or ``translate``.
        timestamps: ``none``, ``segment`` or ``word``.
        mode: ``packed`` or ``sequential``.
        vad: Whether silence is left out, in packed mode.
        provider: None takes what the artifact was written for.
        backend: What runs the encoder.
        threads: Of the CPU provider; None takes one a core.
        batch_size: Windows decoded together in packed mode, or ``auto``; None takes what the recipe said.
        outputs: Where transcripts are written; None writes none.
        resume: Whether to go on with an interrupted transcription.
    """

    artifact: Path
    files: Sequence[Path]
    language: str | None = None
    task: str = "transcribe"
    timestamps: str = "none"
    mode: str = "packed"
    vad: bool = True
    provider: str | None = None
    backend: Backend = "onnxruntime"
    threads: int | None = None
    batch_size: BatchSize | None = None
    outputs: Outputs | None = None
    resume: bool = False


@dataclass(frozen=True)
class Tell:
    """Whom to tell what.

    Attributes:
        note: Given a sentence: how large a batch ``auto`` has made, or that memory ran out.
        heard: Given how many seconds of all the files are heard, and how many there are. None saves looking.
    """

    note: Callable[[str], None]
    heard: Callable[[float, float], None] | None = None


def transcribe_files(
    job: Job, tell: Tell, *, trace: MemoryTrace | None = None
) -> Iterator[tuple[Path, Recording | FastWhisperError]]:
    """Transcribe files in order.

    Args:
        job: What to do.
        tell: What happens on the way.
        trace: Follows memory by phase; started by the caller before anything was imported.

    Yields:
        Each file with its transcript, written if that was asked for, or with the error that kept it from being heard.

    Raises:
        OutOfMemoryError: There is not enough memory for one window.
        OutputError: Transcripts cannot be written, or there is a journal that is not to be gone on with.
        FastWhisperError: The artifact cannot be loaded, or the language or task is none of its.
    """
    if job.outputs is not None:
        job.outputs.check(job.files)
        job.outputs.sweep(job.files)
    manifest = read_manifest(job.artifact, job.provider)
    facts = _facts(job)
    batch_size = _settled(job, manifest, tell)
    if trace:
        if manifest.provider == "cuda":
            trace.video = VideoMemory()
        trace.begin_load(job.backend)
    try:
        model = load_artifact(job.artifact, threads=job.threads, provider=job.provider, backend=job.backend)
        if trace:
            trace("idle")
            model.on_phase = trace
        options = Options(
            language=job.language,
            task=job.task,
            timestamps=job.timestamps != "none",
            words=job.timestamps == "word",
        )
        model.transcribe_batch([], options)  # says now what it cannot do, not after an hour
        with ExitStack() as stack:
            journal = None
            if job.outputs is not None:
                path = job.outputs.journal(job.files)
                journal = stack.enter_context(
                    open_journal(path, _task(job, facts), resume=job.resume, together=batch_size)
                )
            readings = [
                Reading(file, index) if journal is None else journal.reading(index, file)
                for index, file in enumerate(job.files)
            ]
            yield from _collected(job, _events(job, model, readings, options, batch_size, tell), journal, facts, tell)
            if journal is not None:
                journal.remove()
    except OutOfMemoryError as error:
        raise with_advice(error, job.artifact) from error


def _settled(job: Job, manifest: Manifest, tell: Tell) -> int:
    if job.mode == "sequential":  # one window after the other
        return 1
    size = job.batch_size or manifest.batch_size
    if size == "auto":  # the estimate is not imported for nothing: this process is measured
        from fastwhisper_compress.pipeline.auto_batch import settle_batch

        size, _ = settle_batch(size, [job.artifact], threads=job.threads, backend=job.backend, tell=tell.note)
    return size


def _task(job: Job, facts: Mapping[str, Any]) -> Task:
    options = {name: facts[name] for name in ("task", "mode", "timestamps", "vad")}
    options |= {"language": job.language, "backend": job.backend}
    return Task([fingerprint(file) for file in job.files], facts["artifact"], options)


def _facts(job: Job) -> dict[str, Any]:
    """Return what a reader of a transcript should know of how it was made."""
    content = (job.artifact / "manifest.json").read_bytes()
    model = json.loads(content).get("model")
    return {
        "model": model.get("id") if isinstance(model, dict) else None,
        "artifact": f"sha256:{hashlib.sha256(content).hexdigest()}",  # it lists the hashes of all files
        "task": job.task,
        "mode": job.mode,
        "timestamps": job.timestamps,
        "vad": job.vad and job.mode == "packed",
    }


def _events(
    job: Job, model: Transcriber, readings: Sequence[Reading], options: Options, batch_size: int, tell: Tell
) -> Iterator[Event]:
    if job.mode == "sequential":
        return transcribe_in_sequence(model, readings, options)
    return transcribe_packed(
        model,
        readings,
        options,
        batch_size,
        detector=SpeechDetector() if job.vad else None,
        on_shrink=lambda before, after: tell.note(shrunk(before, after)),
    )


def _collected(
    job: Job, events: Iterator[Event], journal: Journal | None, facts: Mapping[str, Any], tell: Tell
) -> Iterator[tuple[Path, Recording | FastWhisperError]]:
    """Gather the parts of each file, and write them when it has ended."""
    parts: defaultdict[int, list[Part]] = defaultdict(list)
    if journal is not None:
        for index, known in journal.parts.items():
            parts[index].extend(known)
    progress = _Progress(job.files, tell)
    failed: set[int] = set()
    for reading, what in events:
        index = reading.index
        if isinstance(what, FastWhisperError):
            if index not in failed:
                failed.add(index)
                yield reading.file, what
            continue
        if journal is not None and reading.end is None:
            journal.add(index, what)
        if isinstance(what, Part):
            parts[index].append(what)
            progress.at(index, what.end_s)
            continue
        progress.at(index, what.duration_s)
        found = _recording(reading.file, parts.pop(index, []), what, job.language, facts)
        if index not in failed:
            yield reading.file, _written(job, reading.file, found)


def _written(job: Job, file: Path, recording: Recording) -> Recording | AudioError:
    """Write the transcripts of a recording, unless nothing of it could be decoded."""
    gaps = recording.gaps
    if gaps and sum(gap.end_s - gap.start_s for gap in gaps) >= recording.duration_s:
        problem = f"cannot be decoded: {gaps[0].reason}"
        return AudioError(problem, place=str(file), remedy="export the file again, as WAV or FLAC")
    if job.outputs is not None:
        job.outputs.write(file, recording)
    return recording


def _recording(
    file: Path, parts: Sequence[Part], end: End, language: str | None, facts: Mapping[str, Any]
) -> Recording:
    return Recording(
        str(file),
        next((part.language for part in parts if part.language), language),
        end.duration_s,
        tuple(segment for part in parts for segment in part.segments),
        joined([*(gap for part in parts for gap in part.gaps), *end.gaps]),
        facts,
    )


class _Progress:
    """How much of all files is heard, in seconds."""

    def __init__(self, files: Sequence[Path], tell: Tell) -> None:
        self._heard = tell.heard
        self._lengths_s = [] if tell.heard is None else [_length_s(file) for file in files]
        self._done_s = [0.0] * len(files)

    def at(self, index: int, seconds: float) -> None:
        """Say how far a file is heard."""
        if self._heard is None:
            return
        self._done_s[index] = seconds
        # No header said how long it is, or one said too little.
        self._lengths_s[index] = max(seconds, self._lengths_s[index])
        self._heard(sum(self._done_s), sum(self._lengths_s))


def _length_s(file: Path) -> float:
    """Return how long a file claims to be; 0 where it does not say, or cannot be read: that will be told in its turn."""
    try:
        with open_audio(file) as blocks:
            return blocks.duration_s or 0.0
    except (AudioError, BackendError):
        return 0.0

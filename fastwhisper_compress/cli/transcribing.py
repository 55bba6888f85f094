"""The command that transcribes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastwhisper_compress.cli.app import AsJson, Backend, BatchSize, OwnBackend, OwnProvider, Threads, app
from fastwhisper_compress.cli.output import say, say_json
from fastwhisper_compress.cli.stream import stream_text
from fastwhisper_compress.errors import FastWhisperError, UsageError
from fastwhisper_compress.transcription.kinds import Format

if TYPE_CHECKING:
    from fastwhisper_compress.transcription.recording import Recording


class Task(StrEnum):
    """What is written down."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class Mode(StrEnum):
    """How a recording is heard."""

    PACKED = "packed"
    SEQUENTIAL = "sequential"


class Timestamps(StrEnum):
    """What times are found."""

    NONE = "none"
    SEGMENT = "segment"
    WORD = "word"


@app.command()
def transcribe(
    artifact: Annotated[Path, typer.Argument(help="An artifact: the --out folder of a run.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings, of any length.")] = None,
    stream: Annotated[
        str | None,
        typer.Option(metavar="-|mic", help="Standard input or the microphone instead, and text as it is committed."),
    ] = None,
    stream_rate: Annotated[
        int | None,
        typer.Option(min=1, metavar="HZ", help="Standard input is PCM, 16 bits, mono; by default a container is read."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for transcripts, and for what is needed to --resume; else on stdout.")
    ] = None,
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="Repeat it for several (with --out); txt by default.")
    ] = None,
    timestamps: Annotated[
        Timestamps | None, typer.Option(help="Times of what; segment by default, none if all is plain text.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="packed hears windows of speech in batches, sequential one after the other in context.")
    ] = Mode.PACKED,
    vad: Annotated[
        bool,
        typer.Option("--vad/--no-vad", help="Whether packed leaves out where nobody speaks; else every 30 s are cut."),
    ] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same command, where it was interrupted; needs --out.")
    ] = False,
    language: Annotated[
        str | None, typer.Option(help="Spoken language, such as de; by default the model detects it.")
    ] = None,
    task: Annotated[Task, typer.Option(help="translate writes English.")] = Task.TRANSCRIBE,
    line_characters: Annotated[int, typer.Option(min=1, help="Of a line of subtitles, at most.")] = 42,
    lines: Annotated[int, typer.Option(min=1, help="Of a subtitle, at most, where times of words are known.")] = 2,
    provider: OwnProvider = None,
    backend: OwnBackend = Backend.ONNXRUNTIME,
    threads: Threads = None,
    batch_size: BatchSize = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Show peak memory and time of each phase on stderr.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Transcribe recordings, or a stream while it comes, with an artifact."""
    if stream is not None:
        alone = not (files or out or formats or timestamps or resume or memory or batch_size)
        _check_stream(alone=alone and mode is Mode.PACKED and vad)
        from fastwhisper_compress.pipeline.stream import StreamJob

        streamed = StreamJob(artifact, language, task, provider, backend, threads)
        stream_text(streamed, stream, rate=stream_rate, as_json=as_json)
        return
    from fastwhisper_compress.evaluation.memory_trace import MemoryTrace

    trace = MemoryTrace() if memory else None
    from fastwhisper_compress import console
    from fastwhisper_compress.pipeline.transcribe import Job, Tell, transcribe_files
    from fastwhisper_compress.pipeline.transcripts import Outputs
    from fastwhisper_compress.transcription.cues import Screen
    from fastwhisper_compress.transcription.formats import recording_to_json, written

    kinds = list(dict.fromkeys(formats or [Format.TXT]))
    files = files or []
    _check(files, out, kinds, resume=resume, as_json=as_json)
    timestamps = timestamps or _usual_times(kinds, as_json=as_json)
    screen = Screen(line_characters, lines)
    job = Job(
        artifact,
        files,
        language=language,
        task=task,
        timestamps=timestamps,
        mode=mode,
        vad=vad,
        provider=provider,
        backend=backend.value,
        threads=threads,
        batch_size=batch_size,
        outputs=None if out is None else Outputs(out, kinds, screen),
        resume=resume,
    )
    rows: list[dict[str, Any]] = []
    failures: list[FastWhisperError] = []
    with _bar() as heard:
        tell = Tell(lambda sentence: say(sentence, err=True), heard)
        for file, found in transcribe_files(job, tell, trace=trace):
            if isinstance(found, FastWhisperError):
                failures.append(found)
                say(f"error: {found}", err=True)
                continue
            _tell_gaps(found)
            if as_json:
                rows.append(recording_to_json(found))
            elif job.outputs is not None:
                say("\n".join(map(str, job.outputs.paths(file))))
            elif len(files) > 1:
                say(f"{file}: {found.text}")
            else:
                say(written(found, kinds[0], screen), nl=False)
    traced = trace.finish() if trace else None
    if as_json:
        say_json({"files": rows, "memory": traced} if traced else rows)
    elif traced:
        say("\n".join(console.memory_lines(traced)), err=True)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _check(files: Sequence[Path], out: Path | None, kinds: Sequence[str], *, resume: bool, as_json: bool) -> None:
    if not files:
        raise UsageError("nothing to transcribe", place="FILES", remedy="name recordings, or --stream -")
    if out is not None:
        return
    if resume:
        raise UsageError("there is nothing to go on with", place="--resume", remedy="name the folder with --out")
    several = len(kinds) > 1 or len(files) > 1 or as_json
    if several and kinds != ["txt"]:
        raise UsageError(
            "only one transcript in one format fits on standard output",
            place="--format",
            remedy="name a folder with --out",
        )


def _check_stream(*, alone: bool) -> None:
    if not alone:
        raise UsageError(
            "a stream has no files, and its text goes to standard output as it comes",
            place="--stream",
            remedy="leave out recordings and the options about them; --json gives times",
        )


def _usual_times(kinds: Sequence[str], *, as_json: bool) -> Timestamps:
    return Timestamps.NONE if kinds == [Format.TXT] and not as_json else Timestamps.SEGMENT


def _tell_gaps(recording: Recording) -> None:
    for gap in recording.gaps:
        say(f"{recording.file}: {gap.start_s:.2f} to {gap.end_s:.2f} s could not be decoded: {gap.reason}", err=True)


@contextmanager
def _bar() -> Iterator[Callable[[float, float], None] | None]:
    """Show how much is heard, in seconds of audio, where a person looks on."""
    if not sys.stderr.isatty():
        yield None
        return
    from fastwhisper_compress import console

    with console.progress() as report:
        yield lambda done_s, of_s: report("seconds heard", round(done_s), max(1, round(of_s)))

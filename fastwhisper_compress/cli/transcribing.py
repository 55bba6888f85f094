"""The command that transcribes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from fastwhisper_compress.cli.app import AsJson, Backend, BatchSize, OwnBackend, OwnProvider, Threads, app
from fastwhisper_compress.cli.combinations import check_files, check_mode, check_stream
from fastwhisper_compress.cli.output import say, say_if_read, say_json
from fastwhisper_compress.cli.stream import gap_sentence, stream_text
from fastwhisper_compress.errors import FastWhisperError
from fastwhisper_compress.transcription.kinds import Format

if TYPE_CHECKING:
    from fastwhisper_compress.transcription.recording import Recording


class Say(Protocol):
    """Prints a line."""

    def __call__(self, text: str, *, err: bool = ...) -> None:
        """Print it on standard output, or on stderr."""


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
    stream_timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="SECONDS", help="Standard input has stalled when nothing came for so long; 10 by default."
        ),
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
    line_characters: Annotated[
        int | None, typer.Option(min=1, help="Of a line of subtitles, at most; 42 by default.")
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option(min=1, help="Of a subtitle, at most, where times of words are known; 2 by default."),
    ] = None,
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
    of_pipes = {"--stream-rate": stream_rate, "--stream-timeout": stream_timeout}
    of_subtitles = {"--line-characters": line_characters, "--lines": lines}
    if stream is not None:
        of_recordings = {
            "recordings": files,
            "--out": out,
            "--format": formats,
            "--timestamps": timestamps,
            "--mode": mode is not Mode.PACKED,
            "--no-vad": not vad,
            "--resume": resume,
            "--batch-size": batch_size,
            "--memory": memory,
            **of_subtitles,
        }
        check_stream(stream, of_recordings, of_pipes)
        from fastwhisper_compress.pipeline.stream import StreamJob

        streamed = StreamJob(artifact, language, task, provider, backend, threads)
        stream_text(streamed, stream, rate=stream_rate, timeout_s=stream_timeout, as_json=as_json)
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
    check_files(files, out, kinds, resume=resume, as_json=as_json, of_subtitles=of_subtitles, of_streams=of_pipes)
    check_mode(mode, vad=vad, batch_size=batch_size)
    timestamps = timestamps or _usual_times(kinds, as_json=as_json)
    screen = Screen(line_characters or Screen.line_characters, lines or Screen.lines)
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
    # With a folder, whoever reads what is printed may go, as `head` does: the work is written elsewhere.
    tell: Say = say if out is None else say_if_read
    with _bar() as heard:
        told = Tell(lambda sentence: tell(sentence, err=True), heard)
        for file, found in transcribe_files(job, told, trace=trace):
            if isinstance(found, FastWhisperError):
                failures.append(found)
                tell(f"error: {found}", err=True)
                continue
            _tell_gaps(found, tell)
            if as_json:
                rows.append(recording_to_json(found))
            elif job.outputs is not None:
                tell("\n".join(map(str, job.outputs.paths(file))))
            elif len(files) > 1:
                say(f"{file}: {found.text}")
            else:
                say(written(found, kinds[0], screen), nl=False)
    traced = trace.finish() if trace else None
    if as_json:
        say_json({"files": rows, "memory": traced} if traced else rows)
    elif traced:
        tell("\n".join(console.memory_lines(traced)), err=True)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _usual_times(kinds: Sequence[str], *, as_json: bool) -> Timestamps:
    return Timestamps.NONE if kinds == [Format.TXT] and not as_json else Timestamps.SEGMENT


def _tell_gaps(recording: Recording, tell: Say) -> None:
    for gap in recording.gaps:
        tell(gap_sentence(recording.file, gap), err=True)


@contextmanager
def _bar() -> Iterator[Callable[[float, float], None] | None]:
    """Show how much is heard, in seconds of audio, where a person looks on."""
    if not sys.stderr.isatty():
        yield None
        return
    from fastwhisper_compress import console

    with console.progress() as report:
        yield lambda done_s, of_s: report("seconds heard", round(done_s), max(1, round(of_s)))

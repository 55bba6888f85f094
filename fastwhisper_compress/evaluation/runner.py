"""The measuring process: loads one artifact, transcribes a suite, reports time and memory.

Started fresh by ``measure`` for every candidate, so that peak memory is the model's own: nothing is imported here that
transcribing does not need (no torch, no jiwer, no scipy).

``python -m fastwhisper_compress.evaluation.runner SPEC.json``, where the spec holds ``artifact``, ``rows_path``,
``threads``, ``provider``, ``backend``, ``batch_size``, ``offload`` (null: what the artifact says) and ``utterances`` (each
with ``id``, ``audio``, its ``sha256`` and ``language``). Rows are appended to ``rows_path`` and flushed one by one; ids already there are
skipped, so an interrupted run goes on where it stopped. Clips of at most 30 s go to the model as they are, recordings that
last longer in windows (``recordings``). ``load_s`` is opening the artifact, imports not included; the first clip is transcribed once untimed before the
rest. Standard output carries one JSON object per line:
``{"event": "progress" | "recovery" | "error" | "measurement", ...}``.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastwhisper_compress.errors import AudioError, AudioTooLongError, FastWhisperError
from fastwhisper_compress.evaluation.intact import check_intact
from fastwhisper_compress.evaluation.memory_probe import VideoMemory, resident_bytes
from fastwhisper_compress.evaluation.memory_trace import MemoryTrace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fastwhisper_compress.runtime.batching import Clip, Heard, Model, OnShrink

    Samples = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000

Emit = Callable[[Mapping[str, Any]], None]
Recordings = Callable[[Sequence[Mapping[str, Any]]], Iterator[Mapping[str, Any]]]
"""Hears recordings of any length, and gives a row for each."""


class Transcript(Protocol):
    """What the runner needs of a transcription."""

    @property
    def text(self) -> str:
        """The text."""

    @property
    def looped(self) -> bool:
        """Whether decoding was stopped in a loop."""

    @property
    def redone(self) -> bool:
        """Whether a first attempt on an elastic window was degenerate."""

    @property
    def tokens(self) -> Sequence[int]:
        """Text tokens."""


def finished_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows of an interrupted run and cut off what a kill left half written."""
    rows: list[dict[str, Any]] = []
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return rows
    good = 0
    for line in content.splitlines(keepends=True):
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(row, dict) or "id" not in row:
            break
        rows.append(row)
        good += len(line)
    if good < len(content):
        with path.open("r+b") as file:
            file.truncate(good)
    return rows


def transcribe_suite(
    transcriber: Model[Transcript],
    read_audio: Callable[[Path], Samples],
    utterances: Sequence[Mapping[str, Any]],
    rows_path: Path,
    *,
    batch_size: int = 1,
    recordings: Recordings,
    on_shrink: OnShrink,
    after_each: Callable[[int], None],
) -> int:
    """Transcribe what is not yet in ``rows_path``: the clips, and then the recordings.

    Audio that cannot be decoded becomes a row with an error, unless it is the reading that fails: that may pass. Only computing is timed: features and decoding, not reading
    the file.

    Args:
        transcriber: The loaded artifact.
        read_audio: Reads a file into 16 kHz mono samples.
        utterances: ``id``, ``audio``, ``sha256`` and ``language`` of each.
        rows_path: JSONL file to append to.
        batch_size: How many clips to transcribe together.
        recordings: Hears what ``read_audio`` finds too long.
        on_shrink: Told when memory ran out and with how many clips it goes on.
        after_each: Called with the number of rows done.

    Returns:
        How many rows were there already.

    Raises:
        ResourceError: A file cannot be read, or is no longer what it was.
    """
    from fastwhisper_compress.runtime.batching import transcribe_all

    done = {row["id"] for row in finished_rows(rows_path)}
    resumed = len(done)
    _warm_up(transcriber, read_audio, utterances)
    left = [one for one in utterances if one["id"] not in done]
    clips = (_clip(read_audio, one) for one in left)
    longer: list[Mapping[str, Any]] = []
    with rows_path.open("a", encoding="utf-8", errors="backslashreplace") as file:

        def write(row: Mapping[str, Any]) -> None:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            done.add(row["id"])
            after_each(len(done))

        for one, found in zip(left, transcribe_all(transcriber, clips, batch_size, on_shrink=on_shrink), strict=True):
            if isinstance(found, AudioTooLongError):
                longer.append(one)
            else:
                write(_row(one["id"], found))
        for row in recordings(longer):
            write(row)
    return resumed


def main(spec_path: Path, emit: Emit) -> int:
    """Run one measurement and return the exit code."""
    try:
        _measure(json.loads(spec_path.read_text(encoding="utf-8")), emit)
    except Exception as caught:
        from fastwhisper_compress.runtime.out_of_memory import translated

        known = caught if isinstance(caught, FastWhisperError) else translated(caught, "running the model")
        if known is None:
            raise
        error = known
    else:
        return 0
    emit(
        {
            "event": "error",
            "type": type(error).__name__,
            "message": error.message,
            "place": error.place,
            "remedy": error.remedy,
            "requested_bytes": getattr(error, "requested_bytes", None),
        }
    )
    return error.exit_code


def _measure(spec: Mapping[str, Any], emit: Emit) -> None:
    video = VideoMemory() if spec["provider"] == "cuda" else None
    trace = MemoryTrace(video)
    from fastwhisper_compress.runtime import load_artifact
    from fastwhisper_compress.runtime.audio import MAX_CLIP_S, read_audio

    trace.begin_load(spec["backend"])
    rss_imports = resident_bytes()
    start = time.perf_counter()
    transcriber = load_artifact(
        Path(spec["artifact"]), threads=spec["threads"], backend=spec["backend"], offload=spec["offload"]
    )
    load_s = time.perf_counter() - start
    rss_after_load = resident_bytes()
    trace("idle")
    transcriber.on_phase = trace
    utterances = spec["utterances"]

    def after_each(done: int) -> None:
        emit({"event": "progress", "done": done, "of": len(utterances)})

    recoveries: list[list[int]] = []

    def on_shrink(before: int, after: int) -> None:
        recoveries.append([before, after])
        emit({"event": "recovery", "from": before, "to": after})

    def recordings(longer: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        if longer:  # a suite of clips should not pay for what only recordings need
            from fastwhisper_compress.evaluation.recordings import hear_recordings

            yield from hear_recordings(
                transcriber,
                longer,
                words=bool(transcriber.manifest.decoding.alignment_heads),
                batch_size=spec["batch_size"],
                on_shrink=on_shrink,
                warm_up=len(longer) == len(utterances),
            )

    resumed = transcribe_suite(
        transcriber,
        partial(read_audio, max_s=MAX_CLIP_S),
        utterances,
        Path(spec["rows_path"]),
        batch_size=spec["batch_size"],
        recordings=recordings,
        on_shrink=on_shrink,
        after_each=after_each,
    )
    traced = trace.finish()
    emit(
        {
            "event": "measurement",
            "load_s": load_s,
            "rss_imports_bytes": rss_imports,
            "rss_after_load_bytes": rss_after_load,
            "peak_rss_bytes": trace.peak_rss_bytes,
            "peak_vram_bytes": video.peak_bytes if video else None,
            "resumed_rows": resumed,
            "trace": traced,
            "batch_size": spec["batch_size"],
            "batch_size_used": recoveries[-1][1] if recoveries else spec["batch_size"],
            "recoveries": recoveries,
        }
    )


def _warm_up(
    transcriber: Model[Transcript], read_audio: Callable[[Path], Samples], utterances: Sequence[Mapping[str, Any]]
) -> None:
    """Transcribe the first usable clip, untimed: the first call pays for allocation and lazy set-up."""
    from fastwhisper_compress.runtime.options import Options

    for one in utterances:
        try:
            transcriber.transcribe_batch([read_audio(Path(one["audio"]))], Options(language=one["language"]))
        except AudioError:
            continue
        return


def _clip(read_audio: Callable[[Path], Samples], one: Mapping[str, Any]) -> Clip | AudioError:
    from fastwhisper_compress.runtime.batching import Clip
    from fastwhisper_compress.runtime.options import Options

    path, options = Path(one["audio"]), Options(language=one["language"])
    check_intact(path, one["sha256"])  # a decoder does not tell bad bytes from bytes that it was not given
    try:
        return Clip(read_audio(path), options)
    except AudioTooLongError as error:
        return error
    except AudioError:
        check_intact(path, one["sha256"])
    try:
        return Clip(read_audio(path), options)
    except AudioError as error:
        return error


def failed_row(name: str, error: str) -> dict[str, Any]:
    """Return the row of audio of which nothing was heard."""
    return {
        "id": name,
        "text": "",
        "tokens": [],
        "looped": False,
        "redone": False,
        "audio_s": 0.0,
        "wall_s": 0.0,
        "error": error,
        "timeline": None,
    }


def _row(name: str, found: Heard[Transcript] | FastWhisperError) -> dict[str, Any]:
    if isinstance(found, FastWhisperError):
        return failed_row(name, found.message)
    transcript = found.transcript
    return {
        "id": name,
        "text": transcript.text,
        "tokens": [int(token) for token in transcript.tokens],
        "looped": transcript.looped,
        "redone": transcript.redone,
        "audio_s": len(found.clip.samples) / SAMPLE_RATE_HZ,
        "wall_s": found.wall_s,
        "error": None,
        "timeline": None,
    }


def _json_lines() -> Emit:
    def emit(event: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    return emit


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent decides
    sys.exit(main(Path(sys.argv[1]), _json_lines()))

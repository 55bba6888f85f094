"""The measuring process: loads one artifact, transcribes a suite, reports time and memory.

Started fresh by ``measure`` for every candidate, so that peak memory is the model's own: nothing is imported here that
transcribing does not need (no torch, no jiwer, no scipy).

``python -m fastwhisper_compress.evaluation.runner SPEC.json``, where the spec holds ``artifact``, ``rows_path``,
``threads``, ``provider``, ``backend``, ``offload`` (null: what the artifact says) and ``utterances`` (each with ``id``, ``audio``, ``language``). Rows are appended to
``rows_path`` and flushed one by one; ids already there are skipped, so an interrupted run goes on where it stopped.
``load_s`` is opening the artifact, imports not included; the first clip is transcribed once untimed before the rest.
Standard output carries one JSON object per line: ``{"event": "progress" | "error" | "measurement", ...}``.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastwhisper_compress.errors import AudioError, FastWhisperError, ResourceError
from fastwhisper_compress.evaluation.memory_probe import VideoMemory, peak_resident_bytes, resident_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000

Emit = Callable[[Mapping[str, Any]], None]


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


class Transcriber(Protocol):
    """What the runner needs of a loaded artifact."""

    def transcribe(self, samples: Samples, *, language: str | None = None) -> Transcript:
        """Transcribe mono samples at 16 kHz.

        Shapes:
            samples: (n,) float32
        """


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


def transcribe_all(
    transcriber: Transcriber,
    read_audio: Callable[[Path], Samples],
    utterances: Sequence[Mapping[str, str]],
    rows_path: Path,
    *,
    after_each: Callable[[int], None],
) -> int:
    """Transcribe what is not yet in ``rows_path``.

    Audio that cannot be decoded, or that the model refuses (too long), becomes a row with an error. Only computing is
    timed: features and decoding, not reading the file.

    Args:
        transcriber: The loaded artifact.
        read_audio: Reads a file into 16 kHz mono samples.
        utterances: ``id``, ``audio`` and ``language`` of each.
        rows_path: JSONL file to append to.
        after_each: Called with the number of rows done.

    Returns:
        How many rows were there already.
    """
    done = {row["id"] for row in finished_rows(rows_path)}
    resumed = len(done)
    _warm_up(transcriber, read_audio, utterances)
    with rows_path.open("a", encoding="utf-8") as file:
        for one in utterances:
            if one["id"] in done:
                continue
            file.write(json.dumps(_row(transcriber, read_audio, one), ensure_ascii=False) + "\n")
            file.flush()
            done.add(one["id"])
            after_each(len(done))
    return resumed


def main(spec_path: Path, emit: Emit) -> int:
    """Run one measurement and return the exit code."""
    try:
        _measure(json.loads(spec_path.read_text(encoding="utf-8")), emit)
    except FastWhisperError as caught:
        error = caught
    except Exception as caught:
        if not _out_of_memory(caught):
            raise
        error = ResourceError(
            "not enough memory to run the model", remedy="use a smaller model or a recipe that compresses more"
        )
    else:
        return 0
    emit(
        {
            "event": "error",
            "type": type(error).__name__,
            "message": error.message,
            "place": error.place,
            "remedy": error.remedy,
        }
    )
    return error.exit_code


def _measure(spec: Mapping[str, Any], emit: Emit) -> None:
    video = VideoMemory() if spec["provider"] == "cuda" else None
    from fastwhisper_compress.runtime import load_artifact
    from fastwhisper_compress.runtime.audio import MAX_CLIP_S, read_audio
    from fastwhisper_compress.runtime.session import import_onnxruntime

    import_onnxruntime()  # imported only when first used, it would count as memory of the model
    if spec["backend"] == "openvino":
        from fastwhisper_compress.runtime.openvino_encoder import import_openvino

        import_openvino()
    rss_imports = resident_bytes()
    start = time.perf_counter()
    transcriber = load_artifact(
        Path(spec["artifact"]), threads=spec["threads"], backend=spec["backend"], offload=spec["offload"]
    )
    load_s = time.perf_counter() - start
    rss_after_load = resident_bytes()
    utterances = spec["utterances"]

    def after_each(done: int) -> None:
        if video:
            video.sample()
        emit({"event": "progress", "done": done, "of": len(utterances)})

    read_clip = partial(read_audio, max_s=MAX_CLIP_S)
    resumed = transcribe_all(transcriber, read_clip, utterances, Path(spec["rows_path"]), after_each=after_each)
    emit(
        {
            "event": "measurement",
            "load_s": load_s,
            "rss_imports_bytes": rss_imports,
            "rss_after_load_bytes": rss_after_load,
            "peak_rss_bytes": peak_resident_bytes(),
            "peak_vram_bytes": video.peak_bytes if video else None,
            "resumed_rows": resumed,
        }
    )


def _out_of_memory(error: Exception) -> bool:
    """ONNX Runtime says it only in words."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("bad_alloc", "Failed to allocate memory")
    )


def _warm_up(
    transcriber: Transcriber, read_audio: Callable[[Path], Samples], utterances: Sequence[Mapping[str, str]]
) -> None:
    """Transcribe the first usable clip, untimed: the first call pays for allocation and lazy set-up."""
    for one in utterances:
        try:
            transcriber.transcribe(read_audio(Path(one["audio"])), language=one["language"])
        except AudioError:
            continue
        return


def _row(
    transcriber: Transcriber, read_audio: Callable[[Path], Samples], one: Mapping[str, str]
) -> dict[str, str | list[int] | float | None]:
    try:
        samples = read_audio(Path(one["audio"]))
        start = time.perf_counter()
        transcript = transcriber.transcribe(samples, language=one["language"])
        wall_s = time.perf_counter() - start
    except AudioError as error:
        return {
            "id": one["id"],
            "text": "",
            "tokens": [],
            "looped": False,
            "redone": False,
            "audio_s": 0.0,
            "wall_s": 0.0,
            "error": error.message,
        }
    return {
        "id": one["id"],
        "text": transcript.text,
        "tokens": [int(token) for token in transcript.tokens],
        "looped": transcript.looped,
        "redone": transcript.redone,
        "audio_s": len(samples) / SAMPLE_RATE_HZ,
        "wall_s": wall_s,
        "error": None,
    }


def _json_lines() -> Emit:
    def emit(event: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    return emit


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent decides
    sys.exit(main(Path(sys.argv[1]), _json_lines()))

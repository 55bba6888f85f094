"""Audio of any length, a second at a time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from fastwhisper_compress.errors import AudioError, StalledError, UsageError
from fastwhisper_compress.runtime.audio_containers import Container
from fastwhisper_compress.runtime.audio_files import SoundFile
from fastwhisper_compress.runtime.audio_pipes import Pipe, RawPcm
from fastwhisper_compress.runtime.audio_source import Hole, Source, undecodable
from fastwhisper_compress.runtime.ogg_pages import ogg_is_torn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

SAMPLE_RATE = 16_000  # Hz
NOT_FINITE = "holds samples that are not finite"
_CONTAINERS = frozenset({".m4a", ".mp4", ".webm", ".mkv", ".mov", ".aac", ".wma", ".3gp"})
_BLOCK = SAMPLE_RATE * 3 // 4  # at least; a resampler holds a little of every second back
_LIVE_BLOCK = SAMPLE_RATE // 10  # what comes through a pipe should not wait for more
# FFmpeg looks at five seconds before it begins, unless it is told that the header must do.
_LIVE = {"probesize": "32768", "analyzeduration": "200000", "fflags": "nobuffer"}
_NEXT_TO_S = 0.5  # damage that near is the same damage


@dataclass(frozen=True)
class Gap:
    """Where audio could not be decoded.

    Attributes:
        start_s: From the start of the recording.
        end_s: Likewise; silence stands from there to here, unless the recording ends with the gap.
        reason: In words.
    """

    start_s: float
    end_s: float
    reason: str


class AudioBlocks:
    """Blocks of about a second (of a tenth from a pipe), float32 (n,) at 16 kHz, mono.

    To be closed, or used in a ``with``; iterated once.

    Args:
        source: What decodes.
        place: What errors call it.
        start_s: Where in the recording the source begins.
        pipe: What it is read from, if it is a pipe.

    Attributes:
        start_s: Where in the recording the first block begins.
        duration_s: What the header claims the whole recording lasts; None where it does not say.
        gaps: What could not be decoded, as far as the blocks have been read.
    """

    def __init__(self, source: Source, place: str, *, start_s: float = 0.0, pipe: Pipe | None = None) -> None:
        self._source = source
        self._place = place
        self._pipe = pipe
        self._frames = 0  # of the source, so far
        self._least = _BLOCK if pipe is None else _LIVE_BLOCK
        self.start_s = start_s
        self.duration_s = source.duration_s
        self.gaps: list[Gap] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        ready: list[np.ndarray] = []
        for samples in self._resampled():
            ready.append(samples)
            if sum(map(len, ready)) >= self._least:
                yield ready[0] if len(ready) == 1 else np.concatenate(ready)
                ready = []
        if any(map(len, ready)):
            yield np.concatenate(ready)
        if self._pipe is not None and self._pipe.stalled:
            raise StalledError("nothing more came", place=self._place, remedy="check what writes to it, or wait longer")
        if not self._frames and not self.start_s:
            reason = f": {self.gaps[0].reason}" if self.gaps else ""
            raise AudioError(f"holds no samples{reason}", place=self._place, remedy="export the file again")

    def close(self) -> None:
        """Give the file back; a pipe stays open."""
        self._source.close()

    def _resampled(self) -> Iterator[np.ndarray]:
        rate = self._source.rate
        if rate == SAMPLE_RATE:
            yield from self._mono()
            return
        import soxr

        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        for samples in self._mono():
            yield stream.resample_chunk(samples)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

    def _mono(self) -> Iterator[np.ndarray]:
        """Mix down; put silence into holes, except into one at the end."""
        hole: Hole | None = None
        for part in self._source.parts():
            if isinstance(part, Hole):
                self._note(self._frames, self._frames + part.frames, part.reason)
                hole = part
                continue
            if hole is not None:
                yield from self._silence(hole.frames)
                hole = None
            finite = np.isfinite(part).all(axis=1)
            if not finite.all():
                self._note_not_finite(finite)
                part = np.where(finite[:, None], part, 0)  # noqa: PLW2901
            self._frames += len(part)
            yield np.ascontiguousarray(part.mean(axis=1, dtype=np.float32), np.float32)

    def _silence(self, frames: int) -> Iterator[np.ndarray]:
        for first in range(0, frames, self._source.rate):
            count = min(frames - first, self._source.rate)
            self._frames += count
            yield np.zeros(count, np.float32)

    def _note_not_finite(self, finite: np.ndarray) -> None:
        edges = np.flatnonzero(np.diff(finite, prepend=True, append=True))
        for start, end in edges.reshape(-1, 2).tolist():
            self._note(self._frames + start, self._frames + end, NOT_FINITE)

    def _note(self, start: int, end: int, reason: str | None) -> None:
        if reason is None:
            return
        gap = Gap(self.start_s + start / self._source.rate, self.start_s + end / self._source.rate, reason)
        if self.gaps and gap.start_s - self.gaps[-1].end_s < _NEXT_TO_S:
            self.gaps[-1] = dataclasses.replace(self.gaps[-1], end_s=gap.end_s)
        else:
            self.gaps.append(gap)


def open_audio(path: Path | str, *, start_s: float = 0.0) -> AudioBlocks:
    """Open a file.

    Args:
        path: The file.
        start_s: Where to begin.

    Raises:
        AudioError: The file is missing, empty, or not audio. (Iterating raises it where there is no sample.)
        BackendError: It needs PyAV, which is not installed.
    """
    path = Path(path)
    try:
        there = path.is_file()
    except OSError:  # a name too long
        there = False
    if not there:
        raise AudioError("no such file", place=str(path)[:1000], remedy="check the path")
    if not path.stat().st_size:
        raise undecodable(str(path), "empty file")
    suffix = path.suffix.lower()
    if suffix in _CONTAINERS:
        source: Source = Container(str(path), str(path), f"{suffix} files", start_s)
    elif ogg_is_torn(path):
        source = Container(str(path), str(path), "damaged Ogg files", start_s)
    else:
        source = SoundFile(path, start_s)
    return AudioBlocks(source, str(path), start_s=start_s)


def open_stream(
    file: BinaryIO, *, rate: int | None = None, channels: int = 1, timeout_s: float | None = None, name: str = "-"
) -> AudioBlocks:
    """Open what comes through a pipe; a pipe that closes in the middle ends the recording there.

    Args:
        file: Whence bytes come.
        rate: In Hz, of raw PCM: 16 bits, little-endian, channels interleaved; None for a container (WAV, FLAC, Ogg, MP3,
            Matroska, ...) that says so itself, read by PyAV.
        channels: Of raw PCM.
        timeout_s: How long to wait for more; None waits for ever. Needs a file descriptor that can be waited for.
        name: What errors call it.

    Raises:
        AudioError: It is neither. (Iterating raises it where there is no sample.)
        BackendError: It needs PyAV, which is not installed.
        StalledError: Nothing came for so long. (When iterating, it comes after all that was heard before.)
        UsageError: A rate or a number of channels that cannot be.
    """
    pipe = Pipe(file, timeout_s)
    if rate is not None:
        if rate <= 0 or channels <= 0:
            raise UsageError(f"{channels} channels at {rate} Hz cannot be", place=name, remedy="give positive numbers")
        return AudioBlocks(RawPcm(pipe, rate, channels), name, pipe=pipe)
    if not pipe.looks_like_a_container():
        if pipe.stalled:
            raise StalledError("nothing came", place=name, remedy="check what writes to it, or wait longer")
        raise AudioError(
            "begins like no container that is known", place=name, remedy="say at which rate it is, if it is raw PCM"
        )
    return AudioBlocks(Container(pipe, name, "containers through a pipe", options=_LIVE), name, pipe=pipe)

"""Audio of any length, a second at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from fastwhisper_compress.errors import AudioError, StalledError, UsageError
from fastwhisper_compress.runtime.audio_decoded import DecodedFile
from fastwhisper_compress.runtime.audio_mixing import LIVE_BLOCK, Mixed
from fastwhisper_compress.runtime.audio_pipes import Pipe, RawPcm
from fastwhisper_compress.runtime.audio_source import SAMPLE_RATE, Gap, Sound, note, undecodable
from fastwhisper_compress.runtime.audio_streamed import DecodedStream

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

__all__ = ["SAMPLE_RATE", "AudioBlocks", "Gap", "open_audio", "open_stream"]


class AudioBlocks:
    """Blocks of about a second (of a tenth from a pipe), float32 (n,) at 16 kHz, mono.

    To be closed, or used in a ``with``; iterated once.

    Args:
        sound: What is heard.
        place: What errors call it.
        start_s: Where in the recording it begins.
        pipe: What it is read from, if it is a pipe.

    Attributes:
        start_s: Where in the recording the first block begins.
        duration_s: What the header claims the whole recording lasts; None where it does not say.
        gaps: What could not be decoded, as far as the blocks have been read.
    """

    def __init__(self, sound: Sound, place: str, *, start_s: float = 0.0, pipe: Pipe | None = None) -> None:
        self._sound = sound
        self._place = place
        self._pipe = pipe
        self.start_s = start_s
        self.duration_s = sound.duration_s
        self.gaps: list[Gap] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        is_silent = not self.start_s  # what begins later may begin behind the end
        for found in self._sound:
            if isinstance(found, Gap):
                note(self.gaps, found)
                continue
            is_silent = False
            yield found
        if self._pipe is not None and self._pipe.stalled:
            raise _stalled("nothing more came", self._place)
        if is_silent and self._pipe is not None and not self.gaps:
            raise _empty(self._place)
        if is_silent:
            reason = f": {self.gaps[0].reason}" if self.gaps else ""
            raise AudioError(f"holds no samples{reason}", place=self._place, remedy="export the file again")

    def close(self) -> None:
        """Give back what it is read from; a pipe stays open."""
        self._sound.close()


def open_audio(path: Path | str, *, start_s: float = 0.0) -> AudioBlocks:
    """Open a file; another process decodes it (see ``audio_child``).

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
    return AudioBlocks(DecodedFile(path, start_s), str(path), start_s=start_s)


def open_stream(
    file: BinaryIO, *, rate: int | None = None, channels: int = 1, timeout_s: float | None = None, name: str = "-"
) -> AudioBlocks:
    """Open what comes through a pipe; a pipe that closes in the middle ends the recording there.

    Args:
        file: Whence bytes come.
        rate: In Hz, of raw PCM: 16 bits, little-endian, channels interleaved; None for a container (WAV, FLAC, Ogg, MP3,
            Matroska, ...) that says so itself, read by PyAV in another process.
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
        return AudioBlocks(Mixed(RawPcm(pipe, rate, channels), least=LIVE_BLOCK), name, pipe=pipe)
    if not pipe.looks_like_a_container():
        if pipe.stalled:
            raise _stalled("nothing came", name)
        if pipe.is_empty:
            raise _empty(name)
        raise AudioError(
            "begins like no container that is known", place=name, remedy="say at which rate it is, if it is raw PCM"
        )
    try:
        return AudioBlocks(DecodedStream(pipe, name), name, pipe=pipe)
    except AudioError:
        if pipe.stalled:  # in the middle of a header, which is then like none that is known
            raise _stalled("nothing more came", name) from None
        raise


def _stalled(problem: str, place: str) -> StalledError:
    return StalledError(problem, place=place, remedy="check what writes to it, or wait longer")


def _empty(place: str) -> AudioError:
    return AudioError("nothing came", place=place, remedy="check what writes to it")

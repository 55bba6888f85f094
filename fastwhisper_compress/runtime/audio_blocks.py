"""Audio of any length, a second at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import numpy as np


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
    """Blocks of about a second, float32 (n,) at 16 kHz, mono. To be closed, or used in a ``with``; iterated once.

    Attributes:
        start_s: Where in the recording the first block begins.
        duration_s: What the header claims the whole recording lasts; None where it does not say.
        gaps: What could not be decoded, as far as the blocks have been read.
    """

    start_s: float
    duration_s: float | None
    gaps: list[Gap]

    def __enter__(self) -> AudioBlocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def close(self) -> None:
        """Give the file back."""
        raise NotImplementedError


def open_audio(path: Path | str, *, start_s: float = 0.0) -> AudioBlocks:
    """Open a file.

    Args:
        path: The file.
        start_s: Where to begin.

    Raises:
        AudioError: The file is missing, empty, or not audio. (Iterating raises it, too.)
        BackendError: It needs PyAV, which is not installed.
    """
    raise NotImplementedError


def open_stream(
    file: BinaryIO, *, rate: int | None = None, channels: int = 1, timeout_s: float | None = None, name: str = "-"
) -> AudioBlocks:
    """Open what comes through a pipe.

    Args:
        file: Whence bytes come.
        rate: In Hz, of raw PCM: 16 bits, little-endian, channels interleaved; None for a container (WAV, FLAC, Ogg, MP3,
            Matroska, ...) that says so itself, read by PyAV.
        channels: Of raw PCM.
        timeout_s: How long to wait for the next byte; None waits for ever.
        name: What errors call it.

    Raises:
        AudioError: It is neither. (Iterating raises it, too.)
        BackendError: It needs PyAV, which is not installed.
        StalledError: Nothing came for so long (when iterating, after all that was heard before).
    """
    raise NotImplementedError

"""What every way of decoding gives: samples as they are stored, and holes where none can be had; and what becomes of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fastwhisper_compress.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

SAMPLE_RATE = 16_000  # Hz
LOUDEST = 1e6  # full scale is 1; the power spectrum of what lies far beyond overflows
MOST_S = 1e6  # twelve days: a header that claims more lies
EXPORT = "export the file again, as WAV or FLAC"
UNDECODABLE = "cannot be decoded: "
ENDS_EARLY = "ends before its header says"
NOTHING_STORED = "nothing is stored for this time"
_RATES = range(
    1000, 1_000_001
)  # Hz; what is outside is forged, and would turn little into hours, or a moment into gigabytes
_NEXT_TO_S = 0.5  # damage that near is the same damage


@dataclass(frozen=True)
class Hole:
    """Frames that should be here and are not.

    Attributes:
        frames: How many.
        reason: Why, in words; None for silence that an encoder has left out on purpose.
    """

    frames: int
    reason: str | None


class Source(Protocol):
    """A decoder at work.

    Attributes:
        rate: In Hz.
        duration_s: What the header claims the whole lasts; None where it does not say.
    """

    rate: int
    duration_s: float | None

    def parts(self) -> Iterator[np.ndarray | Hole]:
        """Decode on: float32 (n, channels) of a second or less, or a hole."""

    def close(self) -> None:
        """Give the file back."""


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


class Sound(Protocol):
    """What a decoder has found, as a model hears it.

    Attributes:
        duration_s: What the header claims the whole lasts; None where it does not say.
    """

    duration_s: float | None

    def __iter__(self) -> Iterator[np.ndarray | Gap]:
        """Blocks, float32 (n,) at 16 kHz, mono; a gap comes before the silence that stands for it."""

    def close(self) -> None:
        """Give back what it is read from."""


def note(gaps: list[Gap], gap: Gap) -> None:
    """Add a gap to those before it; one that is near the last belongs to it."""
    if gaps and gap.start_s - gaps[-1].end_s < _NEXT_TO_S:
        gaps[-1] = dataclasses.replace(gaps[-1], end_s=gap.end_s)
    else:
        gaps.append(gap)


def undecodable(place: str, reason: str) -> AudioError:
    """Reasons go into reports, so they must not hold the path."""
    return AudioError(f"{UNDECODABLE}{reason}", place=place, remedy=EXPORT)


def possible_rate(rate: int, place: str) -> int:
    """Return the rate if audio is stored at such ones.

    Raises:
        AudioError: It is not.
    """
    if rate not in _RATES:
        raise undecodable(place, f"its sample rate of {rate} Hz cannot be" if rate else "its sample rate is not known")
    return rate

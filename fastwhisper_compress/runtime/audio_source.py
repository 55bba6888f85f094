"""What every way of decoding gives: samples as they are stored, and holes where none can be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fastwhisper_compress.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

EXPORT = "export the file again, as WAV or FLAC"
ENDS_EARLY = "ends before its header says"
NOTHING_STORED = "nothing is stored for this time"


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


def undecodable(place: str, reason: str) -> AudioError:
    """Reasons go into reports, so they must not hold the path."""
    return AudioError(f"cannot be decoded: {reason}", place=place, remedy=EXPORT)

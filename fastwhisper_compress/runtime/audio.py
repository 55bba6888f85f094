"""Audio files to 16 kHz mono samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import AudioTooLongError
from fastwhisper_compress.runtime.audio_blocks import open_audio
from fastwhisper_compress.runtime.audio_source import ENDS_EARLY, NOTHING_STORED, SAMPLE_RATE, Gap, undecodable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_CLIP_S", "SAMPLE_RATE", "read_audio"]

MAX_CLIP_S = 30  # what a Whisper model hears at once
_MOST_HELD_S = 4 * 3600.0  # a gigabyte; little of a forged file can turn into so much silence
_AAC_FRAME_S = 0.064  # 1024 samples at 16 kHz; the last frame is filled up, and not every container says how far


def read_audio(path: Path | str, *, max_s: float | None = None) -> np.ndarray:
    """Decode a file, mix its channels down and resample it.

    Args:
        path: The file.
        max_s: Refuse what lasts longer, without decoding all of it. Four hours are the most in any case: longer recordings
            are to be heard in blocks (``open_audio``).

    Returns:
        float32 (n,), 16 kHz, mono.

    Raises:
        AudioError: The file is missing, empty, damaged, or not audio.
        AudioTooLongError: It lasts longer than it may.
        BackendError: It needs PyAV, which is not installed.
    """
    most_s = _MOST_HELD_S if max_s is None else max_s
    longest_s = most_s + _AAC_FRAME_S
    found: list[np.ndarray] = []
    with open_audio(path) as blocks:
        if (blocks.duration_s or 0) > longest_s:
            raise _too_long(path, most_s)
        size = 0
        for block in blocks:
            if bad := next(filter(_is_damage, blocks.gaps), None):
                raise undecodable(str(path), bad.reason)
            size += len(block)
            if size > longest_s * SAMPLE_RATE:
                raise _too_long(path, most_s)
            found.append(block)
    if bad := next(filter(_is_damage, blocks.gaps), None):
        raise undecodable(str(path), bad.reason)
    return np.concatenate(found)[: round(most_s * SAMPLE_RATE)]


def _is_damage(gap: Gap) -> bool:
    """A clip that ends early, or has holes on purpose, can be heard as it is."""
    return gap.reason not in {ENDS_EARLY, NOTHING_STORED}


def _too_long(path: Path | str, max_s: float) -> AudioTooLongError:
    return AudioTooLongError(f"lasts more than {max_s:g} s", place=str(path), remedy="cut it into shorter clips")

"""Audio files to 16 kHz mono samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import AudioError, BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE_RATE = 16_000  # Hz
_EXPORT = "export the file again, as WAV or FLAC"
_CONTAINERS = frozenset({".m4a", ".mp4", ".webm", ".mkv", ".mov", ".aac", ".wma", ".3gp"})


def read_audio(path: Path | str) -> np.ndarray:
    """Decode a file, mix its channels down and resample it.

    Returns:
        float32 (n,), 16 kHz, mono.

    Raises:
        AudioError: The file is missing, empty, or not audio.
        BackendError: It needs PyAV, which is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError("no such file", place=str(path), remedy="check the path")
    samples, rate = _decode_container(path) if path.suffix.lower() in _CONTAINERS else _decode(path)
    if not samples.size:
        raise AudioError("holds no samples", place=str(path), remedy="export the file again")
    if not np.isfinite(samples).all():
        raise AudioError("holds samples that are not finite", place=str(path), remedy="export the file again")
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.ascontiguousarray(mono, dtype=np.float32)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Decode what libsndfile reads (WAV, FLAC, Ogg, MP3): float32 (n, channels) and the rate in Hz."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:  # TypeError: headerless .raw
        raise _undecodable(path, error) from None
    except MemoryError:
        raise _undecodable(path, MemoryError("its header claims more samples than memory holds")) from None
    return samples, int(rate)


def _decode_container(path: Path) -> tuple[np.ndarray, int]:
    """Decode the first audio stream of a container with FFmpeg's libraries: float32 (n, channels) and the rate in Hz."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise BackendError(
            f"{path.suffix} files need PyAV",
            place=str(path),
            remedy="pip install 'fastwhisper-compress[containers]', or convert the file to WAV or FLAC",
        ) from error
    try:
        with av.open(str(path), metadata_errors="ignore") as container:  # titles in Latin-1 are common
            if not container.streams.audio:
                raise AudioError("has no audio stream", place=str(path), remedy="give a file with sound")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioError("its audio is in no format that FFmpeg knows", place=str(path), remedy=_EXPORT)
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)

            def blocks() -> Iterator[np.ndarray]:
                for frame in container.decode(stream):
                    yield from (part.to_ndarray() for part in resampler.resample(frame))

            parts = list(blocks())
            rate = int(stream.rate)
    except FFmpegError as error:
        raise _undecodable(path, error) from None
    if not parts:
        return np.zeros((0, 1), np.float32), rate
    return np.concatenate(parts, axis=1).T, rate


def _undecodable(path: Path, error: Exception) -> AudioError:
    reason = "empty file" if path.stat().st_size == 0 else str(error).splitlines()[0]
    return AudioError(f"cannot be decoded: {reason}", place=str(path), remedy=_EXPORT)

"""Audio files to 16 kHz mono samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import AudioError, AudioTooLongError, BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE_RATE = 16_000  # Hz
MAX_CLIP_S = 30  # what a Whisper model hears at once
_AAC_FRAME = 1024  # samples; the last frame is filled up, and not every container says how far
_MOST_SAMPLES = 1 << 28  # 1 GiB of float32: nobody's clip
_EXPORT = "export the file again, as WAV or FLAC"
_CONTAINERS = frozenset({".m4a", ".mp4", ".webm", ".mkv", ".mov", ".aac", ".wma", ".3gp"})


def read_audio(path: Path | str, *, max_s: float | None = None) -> np.ndarray:
    """Decode a file, mix its channels down and resample it.

    Args:
        path: The file.
        max_s: Refuse what lasts longer, without decoding all of it.

    Returns:
        float32 (n,), 16 kHz, mono.

    Raises:
        AudioError: The file is missing, empty, or not audio.
        AudioTooLongError: It lasts longer than ``max_s``.
        BackendError: It needs PyAV, which is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError("no such file", place=str(path), remedy="check the path")
    decode = _decode_container if path.suffix.lower() in _CONTAINERS else _decode
    samples, rate = decode(path, max_s)
    if not samples.size:
        raise AudioError("holds no samples", place=str(path), remedy="export the file again")
    if not np.isfinite(samples).all():
        raise AudioError("holds samples that are not finite", place=str(path), remedy="export the file again")
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.ascontiguousarray(mono, dtype=np.float32)


def _decode(path: Path, max_s: float | None) -> tuple[np.ndarray, int]:
    """Decode what libsndfile reads (WAV, FLAC, Ogg, MP3): float32 (n, channels) and the rate in Hz."""
    import soundfile

    try:
        if max_s is not None and soundfile.info(path).duration > max_s:
            raise _too_long(path, max_s)
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except AudioError:  # a ValueError, too
        raise
    except soundfile.LibsndfileError as error:
        raise _undecodable(path, error.error_string) from None
    except (ValueError, TypeError) as error:  # TypeError: headerless .raw
        raise _undecodable(path, str(error)) from None
    except MemoryError:
        claimed = soundfile.info(path)
        if claimed.frames * claimed.channels < _MOST_SAMPLES:
            raise  # an honest file, and really no memory
        raise _undecodable(path, "its header claims more samples than memory holds") from None
    return samples, int(rate)


def _decode_container(path: Path, max_s: float | None) -> tuple[np.ndarray, int]:
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

            rate = int(stream.rate)
            longest = None if max_s is None else round(max_s * rate)

            def blocks() -> Iterator[np.ndarray]:
                size = 0
                for frame in container.decode(stream):
                    size += frame.samples
                    if longest is not None and size > longest + _AAC_FRAME:
                        raise _too_long(path, longest / rate)
                    yield from (part.to_ndarray() for part in resampler.resample(frame))

            parts = list(blocks())
    except FFmpegError as error:
        raise _undecodable(path, error.strerror or type(error).__name__) from None
    if not parts:
        return np.zeros((0, 1), np.float32), rate
    return np.concatenate(parts, axis=1).T[:longest], rate


def _too_long(path: Path, max_s: float) -> AudioTooLongError:
    return AudioTooLongError(f"lasts more than {max_s:g} s", place=str(path), remedy="cut it into shorter clips")


def _undecodable(path: Path, reason: str) -> AudioError:
    """The reason goes into reports, so it must not hold the path."""
    if path.stat().st_size == 0:
        reason = "empty file"
    return AudioError(f"cannot be decoded: {reason}", place=str(path), remedy=_EXPORT)

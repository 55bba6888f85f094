"""The microphone as a live stream, through the package sounddevice where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

_BLOCK = SAMPLE_RATE // 10  # samples; what is said is seen this late at most


@contextmanager
def microphone() -> Iterator[Iterator[np.ndarray]]:
    """Open the default input device.

    Yields:
        Blocks, float32 (n,) at 16 kHz, mono, without end.

    Raises:
        BackendError: sounddevice, or the PortAudio library that it needs, is missing.
        AudioError: There is no microphone, it is lost, or it is not read in time. (Iterating raises it, too.)
    """
    try:
        import sounddevice
    except ImportError as error:
        raise BackendError(
            "the microphone needs the package sounddevice",
            place="--stream mic",
            remedy="pip install 'fastwhisper-compress[microphone]', or pipe PCM into --stream -",
        ) from error
    except OSError as error:  # its library is looked for when it is imported
        raise BackendError(
            f"sounddevice cannot find PortAudio ({error})",
            place="--stream mic",
            remedy="install the system's PortAudio library (Debian: libportaudio2)",
        ) from error

    def blocks(stream: sounddevice.InputStream) -> Iterator[np.ndarray]:
        while True:
            try:
                samples, lost = stream.read(_BLOCK)
            except sounddevice.PortAudioError as error:
                raise _unusable(error) from error
            if lost:
                raise AudioError(
                    "audio of the microphone was lost: it was not read in time",
                    place="--stream mic",
                    remedy="use a smaller artifact or more threads",
                )
            yield samples[:, 0]

    try:
        stream = sounddevice.InputStream(samplerate=SAMPLE_RATE, channels=1, dtype="float32", latency="high")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _unusable(error) from error
    with stream:
        yield blocks(stream)


def _unusable(error: Exception) -> AudioError:
    return AudioError(f"the microphone cannot be used: {error}", place="--stream mic", remedy="check the input device")

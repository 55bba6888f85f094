"""Which decoder reads what. Only the process that decodes may use it: what it is given may be made to break it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fastwhisper_compress.runtime.audio_containers import Container
from fastwhisper_compress.runtime.audio_files import SoundFile
from fastwhisper_compress.runtime.audio_mixing import LIVE_BLOCK, Mixed
from fastwhisper_compress.runtime.ogg_pages import find_tear

if TYPE_CHECKING:
    from fastwhisper_compress.runtime.audio_source import Source

_CONTAINERS = frozenset({".m4a", ".mp4", ".webm", ".mkv", ".mov", ".aac", ".wma", ".3gp"})
# FFmpeg looks at five seconds before it begins, unless it is told that the header must do. (Told to buffer nothing as well,
# it would throw away what it has looked at.)
_LIVE = {"probesize": "32768", "analyzeduration": "200000"}


class Readable(Protocol):
    """Bytes as they come."""

    def read(self, size: int) -> bytes:
        """Take what is there, at most so many bytes; wait if there is nothing. Nothing means the end."""


def decode_file(path: Path, start_s: float) -> Mixed:
    """Open a file that is there.

    Args:
        path: The file.
        start_s: Where to begin.

    Raises:
        AudioError: It is not audio.
        BackendError: It needs PyAV, which is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in _CONTAINERS:
        source: Source = Container(str(path), str(path), f"{suffix} files", start_s)
    elif tear := find_tear(path):
        source = Container(str(path), str(path), "damaged Ogg files", start_s, tear=tear)
    else:
        source = SoundFile(path, start_s)
    return Mixed(source, start_s=start_s)


def decode_stream(file: Readable) -> Mixed:
    """Open what comes through a pipe and says itself what it is.

    Raises:
        AudioError: It is not audio.
        BackendError: It needs PyAV, which is not installed.
    """
    return Mixed(Container(file, "-", "containers through a pipe", options=_LIVE), least=LIVE_BLOCK)

"""A stream that another process decodes, while it comes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio_frames import Answer, Closed, End, Opened
from fastwhisper_compress.runtime.audio_pipes import Pipe
from fastwhisper_compress.runtime.audio_process import DecodingProcess, DiedError
from fastwhisper_compress.runtime.audio_source import Gap, undecodable

if TYPE_CHECKING:
    import numpy as np

_PIECE_BYTES = 1 << 16


class DecodedStream:
    """A container that comes through a pipe, as a :class:`Sound`.

    What has come cannot be had again: what ends its decoder ends the recording.

    Args:
        pipe: Whence it comes; a thread reads it, until it ends or this is closed.
        place: What errors call it.

    Raises:
        AudioError: It is not audio, or it has ended its decoder.
        BackendError: It needs PyAV, which is not installed.
    """

    def __init__(self, pipe: Pipe, place: str) -> None:
        self._pipe = pipe
        self._place = place
        self._broken: OSError | None = None  # the pipe
        self._process = DecodingProcess()
        self._process.open_stream()
        self._is_closed = False
        self._enough, self._tell_enough = os.pipe()
        self._feeder = threading.Thread(target=self._feed, name="audio feeder", daemon=True)
        self._feeder.start()
        try:
            opened = self._receive()
        except BaseException:
            self.close()
            raise
        self.duration_s = opened.duration_s if isinstance(opened, Opened) else None

    def __iter__(self) -> Iterator[np.ndarray | Gap]:
        while not isinstance(found := self._receive(), End):
            if not isinstance(found, Opened | Closed):
                yield found
        if self._broken is not None:
            raise AudioError(
                f"cannot be read on: {self._broken.strerror}", place=self._place, remedy="check what writes to it"
            )

    def close(self) -> None:
        """End the process and the thread; the pipe stays open."""
        if self._is_closed:
            return
        self._is_closed = True
        os.close(self._tell_enough)
        self._process.kill()
        self._feeder.join()
        self._process.close()
        os.close(self._enough)

    def _receive(self) -> Opened | End | Closed | Gap | np.ndarray:
        try:
            answer: Answer = self._process.receive(None)
        except DiedError as death:
            raise undecodable(self._place, str(death)) from None
        if isinstance(answer, AudioError | BackendError):
            answer.place = self._place
            raise answer
        return answer

    def _feed(self) -> None:
        try:
            while content := self._pipe.read(_PIECE_BYTES, unless=self._enough):
                if not self._process.write(content):
                    return
        except OSError as error:
            self._broken = error
        finally:
            self._process.end_input()

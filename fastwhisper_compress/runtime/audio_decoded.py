"""A file that another process decodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio_frames import Closed, End, Opened
from fastwhisper_compress.runtime.audio_limits import computing_s
from fastwhisper_compress.runtime.audio_pool import POOL
from fastwhisper_compress.runtime.audio_process import DecodingProcess, DiedError
from fastwhisper_compress.runtime.audio_source import SAMPLE_RATE, UNDECODABLE, Gap, undecodable

_OUT_OF_TURN = "its decoder answers what was not asked"
_AHEAD = 7  # blocks that are decoded before they are wanted
_HOLES_S = (1, 4, 16)  # how far behind the place of a death to go on, when one follows another
_MOST_DEATHS = 10  # of one recording
_WAIT_S = 30.0  # for an answer, besides what computing it may take
_BUSY = 10.0  # how many times longer that may take on a machine that does other things too


class DecodedFile:
    """A file as a :class:`Sound`. What ends its decoder in the middle becomes a gap, as damage does.

    Args:
        path: The file.
        start_s: Where to begin.

    Raises:
        AudioError: It is not audio, or it has ended its decoder.
        BackendError: It needs PyAV, which is not installed.
    """

    def __init__(self, path: Path, start_s: float) -> None:
        self._path = path
        self._start_s = start_s
        self._limit_s = _WAIT_S + _BUSY * computing_s(path.stat().st_size, 0)
        self._process: DecodingProcess | None = None
        self.duration_s: float | None = None
        try:
            self.duration_s = self._open(start_s)
        except DiedError as death:
            self.close()
            if not start_s:
                raise self._error(death) from None
            # Else it is a chapter of what was readable before: iterating looks further on.

    def __iter__(self) -> Iterator[np.ndarray | Gap]:
        samples = deaths = in_a_row = 0
        hole = 0  # samples that are left out behind those: silence, if anything comes after it
        reason = ""
        while True:
            try:
                if self._process is None:
                    self._open(self._start_s + (samples + hole) / SAMPLE_RATE)
                for found in self._answers():
                    if reason:
                        yield self._gap(samples, samples + hole, reason)
                        reason = ""
                    if isinstance(found, np.ndarray):
                        yield from _silence(hole)
                        samples, hole, in_a_row = samples + hole + len(found), 0, 0
                    yield found
            except (DiedError, AudioError) as death:
                self.close()
                if not samples and not self._start_s:
                    raise self._error(death) from None
                reason = str(death) if isinstance(death, DiedError) else death.message.removeprefix(UNDECODABLE)
            if self._process is not None or in_a_row == len(_HOLES_S) or deaths == _MOST_DEATHS:
                break
            hole = _HOLES_S[in_a_row] * SAMPLE_RATE
            deaths, in_a_row = deaths + 1, in_a_row + 1
        if reason:
            claimed = round(((self.duration_s or 0.0) - self._start_s) * SAMPLE_RATE)
            yield self._gap(samples, claimed if claimed > samples else samples + hole, reason)

    def close(self) -> None:
        """Give the process back, for others if it can still be asked."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.close_file():
            POOL.give_back(process)
        else:
            process.close()

    def _open(self, start_s: float) -> float | None:
        """Have it opened, and return what it claims to last."""
        while True:
            process = POOL.take()
            is_new = not process.recordings
            process.open_file(self._path, start_s)
            try:
                answer = process.receive(self._limit_s)
            except BaseException as error:
                process.close()
                if isinstance(error, DiedError) and error.by_itself and not is_new:  # of idleness, just now
                    continue
                raise
            self._process = process
            if isinstance(answer, Opened):
                return answer.duration_s
            if isinstance(answer, AudioError | BackendError):
                self.close()
                answer.place = str(self._path)
                raise answer
            process.kill()
            raise DiedError(_OUT_OF_TURN)

    def _answers(self) -> Iterator[np.ndarray | Gap]:
        process = self._process
        if process is None:
            return
        for _ in range(_AHEAD):
            process.ask_next()
        while not isinstance(answer := process.receive(self._limit_s), End):
            if isinstance(answer, AudioError | BackendError):
                raise answer
            if isinstance(answer, Opened | Closed):
                process.kill()
                raise DiedError(_OUT_OF_TURN)
            if isinstance(answer, np.ndarray):
                process.ask_next()
            yield answer

    def _error(self, death: DiedError | AudioError) -> AudioError:
        if isinstance(death, DiedError):
            return undecodable(str(self._path), str(death))
        death.place = str(self._path)
        return death

    def _gap(self, start: int, end: int, reason: str) -> Gap:
        return Gap(self._start_s + start / SAMPLE_RATE, self._start_s + end / SAMPLE_RATE, reason)


def _silence(samples: int) -> Iterator[np.ndarray]:
    for first in range(0, samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, samples - first), np.float32)

"""One process that decodes is kept for the next recording: starting it takes longer than decoding a clip."""

from __future__ import annotations

import atexit
import os
import threading

from fastwhisper_compress.runtime.audio_process import DecodingProcess

_MOST_RECORDINGS = 500  # then a process is replaced: libraries leak, and hostile files make them


class _Pool:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: DecodingProcess | None = None
        self._others: list[DecodingProcess] = []  # started by the process that this one was forked off
        self._is_registered = False

    def take(self) -> DecodingProcess:
        """Return a process that nobody else uses."""
        with self._lock:
            found, self._idle = self._idle, None
            if not self._is_registered:
                atexit.register(self.close)
                self._is_registered = True
        if found is not None and found.owner != os.getpid():
            found.forget()
            self._others.append(found)
        elif found is not None:
            if found.is_alive:
                return found
            found.close()
        return DecodingProcess()

    def give_back(self, process: DecodingProcess) -> None:
        """Keep it for whoever is next, if it is good for that."""
        with self._lock:
            if self._idle is None and process.is_alive and process.recordings < _MOST_RECORDINGS:
                self._idle = process
                return
        process.close()

    def close(self) -> None:
        """End the one that is kept."""
        with self._lock:
            found, self._idle = self._idle, None
        if found is not None and found.owner == os.getpid():
            found.close()


POOL = _Pool()

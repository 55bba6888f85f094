"""The process that decodes, with a decoder that breaks where a file beside the recording says.

``a.wav.breaks`` holds rows of JSON: from which second, to which, and how. A stream kills it in its third second.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time

import numpy as np

from fastwhisper_compress.runtime import audio_child, audio_limits, audio_opening

audio_child._IDLE_S = 0.3
audio_limits._LEAST_S = 0.5
audio_limits._PER_MEGABYTE_S = 0


def spin():
    while True:
        pass


def allocate():
    return np.ones(audio_limits.MEMORY_BYTES, np.uint8)


HOW = {
    "dies": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exits": lambda: os._exit(3),
    "spins": spin,
    "hangs": lambda: time.sleep(60),
    "allocates": allocate,
    "writes": lambda: os.write(os.memfd_create("file"), b"x"),
    "opens": lambda: [os.dup(0) for _ in range(100)],
    "fails": lambda: 1 / 0,
    "lies": lambda: [os.write(fd, b"\xff" * 100) for fd in range(3, 20) if fd_is_pipe(fd)],
}


def fd_is_pipe(fd):
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


class Breaking:
    def __init__(self, sound, at_s, breaks):
        self.sound, self.at_s, self.breaks = sound, at_s, breaks
        self.duration_s, self.close = sound.duration_s, sound.close

    def __iter__(self):
        for found in self.sound:
            if isinstance(found, np.ndarray):
                end_s = self.at_s + len(found) / 16_000
                for first_s, last_s, how in self.breaks:
                    if first_s < end_s and last_s > self.at_s:
                        HOW[how]()
                self.at_s = end_s
            yield found


def decode_file(path, start_s, *, decode=audio_opening.decode_file):
    breaks = json.loads(path.with_name(path.name + ".breaks").read_text())
    for first_s, _, how in breaks:
        if first_s < 0:
            HOW[how]()
    return Breaking(decode(path, start_s), start_s, breaks)


def decode_stream(file, *, decode=audio_opening.decode_stream):
    return Breaking(decode(file), 0.0, [(2, 3, "dies")])


audio_opening.decode_file, audio_opening.decode_stream = decode_file, decode_stream

if __name__ == "__main__":
    raise SystemExit(audio_child.main())

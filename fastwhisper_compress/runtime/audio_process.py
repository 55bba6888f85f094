"""A process that decodes, as those who ask see it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import weakref
from io import FileIO
from pathlib import Path
from typing import NoReturn

from fastwhisper_compress.errors import BackendError, ResourceError
from fastwhisper_compress.runtime.audio_frames import Answer, Ask, Closed, FrameError, Request, read_answer

_MODULE = "fastwhisper_compress.runtime.audio_child"
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
# Of the environment it needs where things lie and how text is written; tokens and passwords are not for it.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL")
_PIPE_BYTES = 1 << 19  # so that several blocks lie ready; only Linux can be told
_CLOSE_S = 0.5  # for a few blocks that are not wanted; starting another process takes as long
_END_S = 5.0  # between its last word and its end


class DiedError(Exception):
    """The process is no more, or no longer to be trusted; the message says why.

    Attributes:
        by_itself: Whether it ended because nobody had asked for a while.
    """

    def __init__(self, reason: str, *, by_itself: bool = False) -> None:
        super().__init__(reason)
        self.by_itself = by_itself


class DecodingProcess:
    """A process that decodes one recording at a time. It ends with this one, whose end of the pipes then closes.

    (Linux could end it by a signal, but does so as soon as the thread that has started it ends.)

    Asking tells nothing of its death: whoever receives is told, after what it has said before.

    Where the system cannot wait for a pipe with a limit (Windows), a process that hangs is waited for.

    Attributes:
        owner: The process that started it; one that was forked off later must not use it.
        recordings: How many were opened.

    Raises:
        ResourceError: It cannot be started.
    """

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        path = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(path), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                pipesize=_PIPE_BYTES,
                env=environment,
            )
        except OSError as error:
            raise ResourceError(
                f"the process that decodes audio cannot be started: {error.strerror}",
                place=sys.executable,
                remedy="look for what has used up memory or processes",
            ) from error
        requests, answers = self._process.stdin, self._process.stdout
        if not (isinstance(requests, FileIO) and isinstance(answers, FileIO)):
            raise TypeError("unbuffered pipes were asked for")
        self._requests, self._answers = requests, answers
        self.owner = os.getpid()
        self.recordings = 0
        # A reading that is given up half-way may only be found by the garbage collector.
        self._end = weakref.finalize(self, _ended_with, self._process, self.owner)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def open_file(self, path: Path, start_s: float) -> None:
        """Ask for a file, when all that was asked before is answered."""
        self.recordings += 1
        self.write(Request(Ask.FILE, start_s, os.fsencode(path.absolute())).packed())

    def open_stream(self) -> None:
        """Ask for what will be written from now on."""
        self.recordings += 1
        self.write(Request(Ask.STREAM).packed())

    def ask_next(self) -> None:
        """Ask for one block more."""
        self.write(Request(Ask.NEXT).packed())

    def close_file(self) -> bool:
        """Want no more of the file; tell whether another may be opened now."""
        self.write(Request(Ask.CLOSE).packed())
        deadline = time.monotonic() + _CLOSE_S
        try:
            while not isinstance(self.receive(max(0.0, deadline - time.monotonic())), Closed):
                pass  # what was asked before
        except (DiedError, BackendError):
            return False
        return True

    def write(self, content: bytes) -> bool:
        """Hand on a piece of the stream; tell whether anybody reads it."""
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self._requests.fileno(), left) :]
        except (OSError, ValueError):  # the second where the pipe was given back
            return False
        return True

    def end_input(self) -> None:
        """Say that nothing more will be written."""
        self._requests.close()

    def receive(self, limit_s: float | None) -> Answer:
        """Return the next answer.

        Args:
            limit_s: How long it may take; None waits for ever.

        Raises:
            BackendError: It could not be started.
            DiedError: It will not come.
        """
        deadline = None if limit_s is None else time.monotonic() + limit_s
        try:
            return read_answer(lambda size: self._read(size, deadline))
        except FrameError as error:
            self._give_up(f"its decoder {error}")

    def kill(self) -> None:
        """End it, whatever it does; who waits for it is told."""
        self._process.kill()

    def close(self) -> None:
        """End it, and give the pipes back."""
        self._end()

    def forget(self) -> None:
        """Give the pipes back, of a process that is another's."""
        self._end()

    def _read(self, size: int, deadline: float | None) -> bytearray:
        content = bytearray(size)
        left = memoryview(content)
        if self._answers.closed:
            raise DiedError("its decoder was given up")
        while left:
            if deadline is not None and not self._readable(deadline):
                self._give_up("its decoder gave no answer for too long")
            got = self._answers.readinto(left)
            if not got:
                self._give_up(None)
            left = left[got:]
        return content

    def _readable(self, deadline: float) -> bool:
        """Wait until there is something to read."""
        if sys.platform == "win32":
            return True
        waiting = select.poll()
        waiting.register(self._answers.fileno(), select.POLLIN)
        return bool(waiting.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _give_up(self, reason: str | None) -> NoReturn:
        """Tell why nothing more comes: what is wrong with it, or else how it has ended."""
        if reason is None:
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                reason = "its decoder has nothing more to say"
        self.kill()
        code = self._process.wait()
        if reason is None and code == 1:
            raise BackendError(
                "the process that decodes audio breaks by itself",
                place=_MODULE,
                remedy=f"run python -m {_MODULE} to see why",
            )
        raise DiedError(reason or _ended(code), by_itself=reason is None and code == 0)


def _ended_with(process: subprocess.Popen[bytes], owner: int) -> None:
    """End a process of ours, or leave another's alone, and give its pipes back."""
    ours = os.getpid() == owner
    if ours:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    if ours:
        process.wait()


def _ended(code: int) -> str:
    if code >= 0:
        return f"its decoder ended with exit code {code}"
    if sys.platform != "win32" and -code == signal.SIGXCPU:
        return "decoding it takes too long"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its decoder was ended by {name}"

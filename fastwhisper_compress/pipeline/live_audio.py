"""What a pipe or a microphone brings, read while it comes, and what of it could not be decoded."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import AudioError, FastWhisperError, StalledError, UsageError
from fastwhisper_compress.runtime.audio_blocks import SAMPLE_RATE, AudioBlocks, Gap, open_stream
from fastwhisper_compress.transcription.arriving import Arriving
from fastwhisper_compress.transcription.microphone import microphone

if TYPE_CHECKING:
    import numpy as np

PATIENCE_S = 10.0  # a pipe from which nothing comes for so long has stalled
_MAY_GO_ON_S = 1.0  # damage that is nearer than this to a gap may yet count as part of it
_INPUT = "--stream -"


class LiveAudio:
    """A source for a stream's transcription that tells, as its audio is taken, what of it could not be decoded."""

    def __init__(self, arriving: Arriving, gaps: deque[Gap], on_gap: Callable[[Gap], None]) -> None:
        """Begin to tell.

        Args:
            arriving: The audio.
            gaps: Whoever reads it adds those that have ended. Nobody else may print from that thread: it can be in the
                middle of a line when the program ends.
            on_gap: Told of each, in the thread that takes.
        """
        self._arriving, self._gaps, self._on_gap = arriving, gaps, on_gap

    def take(self, least: int, most: int) -> np.ndarray:
        """Return what has arrived; see :class:`~fastwhisper_compress.transcription.arriving.Source`."""
        try:
            return self._arriving.take(least, most)
        finally:
            while self._gaps:
                self._on_gap(self._gaps.popleft())

    def close(self) -> None:
        """Want no more: what has arrived is the last that can be taken."""
        self._arriving.close()


@contextmanager
def live_audio(
    name: str, *, rate: int | None = None, timeout_s: float = PATIENCE_S, on_gap: Callable[[Gap], None]
) -> Iterator[LiveAudio]:
    """Open a stream and begin to read it.

    Args:
        name: ``-`` for standard input, or ``mic`` for the microphone.
        rate: In Hz, if standard input is raw PCM: 16 bits, little-endian, mono. None if it is a container.
        timeout_s: How long standard input may bring nothing before it counts as stalled.
        on_gap: Told of what could not be decoded, once it has ended, by whoever takes audio.

    Raises:
        UsageError: There is no such stream.
        AudioError: Standard input is closed or is not audio, or there is no microphone. (Taking raises it, too.)
        BackendError: An optional package is missing.
        StalledError: Nothing has come. (Where nothing more comes, taking raises it.)
    """
    gaps: deque[Gap] = deque()
    if name == "mic":
        with microphone() as heard, Arriving(heard) as arriving:
            yield LiveAudio(arriving, gaps, on_gap)
    elif name == "-":
        with Arriving(_read(_standard_input(rate, timeout_s), gaps)) as arriving:
            yield LiveAudio(arriving, gaps, on_gap)
    else:
        raise UsageError(f"no stream {name!r}", place="--stream", remedy="use - for standard input, or mic")


def _standard_input(rate: int | None, timeout_s: float) -> AudioBlocks:
    if sys.stdin is None:  # and its number may be that of another file by now
        raise AudioError("standard input is closed", place=_INPUT, remedy="pipe audio into it")
    with _what_helps():
        # Unbuffered: a buffer's lock, held by the reader's thread when the program ends, would abort it.
        file = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - the thread may still read when we are done
        return open_stream(file, rate=rate, timeout_s=timeout_s, name=_INPUT)


def _read(blocks: AudioBlocks, gaps: deque[Gap]) -> Iterator[np.ndarray]:
    """Hand on blocks, and close them in the thread that reads them: nobody else knows that no read is going on."""
    read_s, told = 0.0, 0
    with blocks:
        try:
            coming = iter(blocks)
            while True:
                with _what_helps():
                    block = next(coming, None)
                if block is None:
                    break
                read_s += block.size / SAMPLE_RATE
                ended = [gap for gap in blocks.gaps[told:] if gap.end_s + _MAY_GO_ON_S <= read_s]
                gaps.extend(ended)
                told += len(ended)
                yield block
        finally:
            gaps.extend(blocks.gaps[told:])


@contextmanager
def _what_helps() -> Iterator[None]:
    """Give the errors of standard input the remedies of the command line: a pipe cannot be exported again."""
    try:
        yield
    except StalledError as error:
        remedy = "check what writes to it, or wait longer with --stream-timeout"
        raise StalledError(error.message, place=_INPUT, remedy=remedy) from error
    except AudioError as error:
        remedy = "pipe sound into it: WAV, FLAC or another container, or raw PCM with its --stream-rate"
        raise AudioError(error.message, place=_INPUT, remedy=remedy) from error
    except FastWhisperError:
        raise
    except OSError as error:
        problem = f"standard input cannot be read: {error.strerror}"
        raise AudioError(problem, place=_INPUT, remedy="pipe audio into it") from error

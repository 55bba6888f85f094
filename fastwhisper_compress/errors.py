"""Every error a user can cause: typed, naming the place and the remedy, mapped to a documented exit code.

Each class is also the standard-library error a caller would expect, so ``except ValueError`` keeps working.

======  ==========================================================
code    meaning
======  ==========================================================
0       success
1       a bug in this program
2       bad recipe, bad usage, bad input file
3       a quality gate, a parity check or a training failed, nothing published
4       a backend or optional package is missing
5       unsafe input refused
6       resources: memory, disk, network
130     interrupted
======  ==========================================================
"""

from __future__ import annotations


class FastWhisperError(Exception):
    """Base of all expected errors.

    Args:
        message: What is wrong, in one sentence.
        place: Where: a file, ``file:line:column``, a module path, a command-line option.
        remedy: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, place: str | None = None, remedy: str | None = None) -> None:
        self.message = message
        self.place = place
        self.remedy = remedy
        super().__init__(message, place, remedy)

    def __str__(self) -> str:
        place = (self.place or "").replace("\n", "\\n")  # a file may be called so as to look like a message
        text = f"{place}: {self.message}" if place else self.message
        return f"{text}\n  remedy: {self.remedy}" if self.remedy else text


class UsageError(FastWhisperError, ValueError):
    """A command, option or argument that cannot be honoured."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that does not parse, does not validate or does not fit the model."""


class SuiteError(UsageError):
    """An evaluation suite or manifest that cannot be used."""


class AudioError(UsageError):
    """Audio that cannot be decoded, or not be heard."""


class AudioTooLongError(AudioError):
    """Audio that lasts longer than the caller can take at once."""


class ModelNotFoundError(UsageError, FileNotFoundError):
    """No checkpoint under the given path or id."""


class ArtifactError(UsageError):
    """A folder that is not an artifact, or one that is incomplete."""


class ClosedError(UsageError):
    """What is asked is no longer there to answer, or not yet."""


class OutputError(UsageError, OSError):
    """An output folder that is not ours to write."""


class GateError(FastWhisperError, RuntimeError):
    """Parity or a quality gate failed; nothing was published."""

    exit_code = 3


class DivergedError(FastWhisperError, ArithmeticError):
    """Training went wrong beyond repair; what it had learnt before is kept."""

    exit_code = 3


class BackendError(FastWhisperError, ImportError):
    """A runtime, provider or optional package is missing or in conflict."""

    exit_code = 4


class ProviderError(FastWhisperError, RuntimeError):
    """A precision or an operator that the chosen execution provider cannot run."""

    exit_code = 4


class UnsafeInputError(FastWhisperError, ValueError):
    """A checkpoint or artifact that is corrupt, hostile or not what it claims to be."""

    exit_code = 5


class ResourceError(FastWhisperError, OSError):
    """Out of memory, disk or network."""

    exit_code = 6


class QueueFullError(ResourceError):
    """So many requests wait that no more are taken."""


class OutOfMemoryError(ResourceError, MemoryError):
    """The system, or a runtime's allocator, had no memory left: with less at a time it may go on.

    Args:
        message: What is wrong, in one sentence.
        place: Where.
        remedy: What the user can do about it.
        requested_bytes: What the request that failed asked for, where it was told.
    """

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        remedy: str | None = None,
        requested_bytes: int | None = None,
    ) -> None:
        super().__init__(message, place=place, remedy=remedy)
        self.requested_bytes = requested_bytes


class HubUnavailableError(ResourceError, ConnectionError):
    """The model or data hub is out of reach, or going there was forbidden."""


class StalledError(ResourceError, TimeoutError):
    """A stream that is still open, but from which nothing has come for too long."""

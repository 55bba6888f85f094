"""Many clips in batches that become smaller when memory runs out."""

from __future__ import annotations

import gc
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from fastwhisper_compress.errors import AudioError, FastWhisperError
from fastwhisper_compress.runtime.options import DEFAULTS, Options
from fastwhisper_compress.runtime.out_of_memory import translated

if TYPE_CHECKING:
    import numpy as np

OnShrink = Callable[[int, int], None]
"""Told that memory ran out at so many clips, and with how many it goes on."""

Found = TypeVar("Found")
_Found_co = TypeVar("_Found_co", covariant=True)


class Model(Protocol[_Found_co]):
    """What batching needs of a transcriber."""

    def check(self, samples: np.ndarray) -> None:
        """Raise an ``AudioError`` for a clip that no batch should hold."""

    def transcribe_batch(self, clips: Sequence[np.ndarray], options: Options) -> Sequence[_Found_co]:
        """Transcribe several clips, float32 (n,) at 16 kHz each, all in one way."""

    def free_memory(self) -> None:
        """Give back what nobody uses."""


@dataclass(frozen=True)
class Clip:
    """What is to be heard.

    Attributes:
        samples: float32 (n,), 16 kHz, mono.
        options: How it is to be transcribed.
    """

    samples: np.ndarray
    options: Options = DEFAULTS


@dataclass(frozen=True)
class Heard(Generic[Found]):
    """What became of a clip.

    Attributes:
        clip: The clip.
        transcript: What the model found.
        wall_s: Its share of the time of its batch, in proportion to its length. Attempts that ran out of memory are not
            counted.
    """

    clip: Clip
    transcript: Found
    wall_s: float


def transcribe_all(
    model: Model[Found],
    clips: Iterable[Clip | FastWhisperError],
    batch_size: int,
    *,
    on_shrink: OnShrink,
) -> Iterator[Heard[Found] | FastWhisperError]:
    """Transcribe clips in order, as many at a time as memory lets.

    When it runs out, the same clips are tried again in batches of half as many, and all later ones too. A clip that the
    model refuses does not keep its neighbours from being heard.

    Args:
        model: The loaded artifact.
        clips: Read as they are needed; an error in place of a clip that could not be read is handed on.
        batch_size: How many at a time, at most; those of a batch have the same options.
        on_shrink: Told of every halving.

    Yields:
        For every clip, in order, what was heard, or the error that kept it from being heard.

    Raises:
        OutOfMemoryError: There is not enough memory for one clip.
        UsageError: The model cannot do what the options ask for.
    """
    source = (_checked(model, one) for one in clips)
    waiting: deque[Clip | FastWhisperError] = deque()
    while True:
        group = _next_group(waiting, source, batch_size)
        batch = [one for one in group if isinstance(one, Clip)]
        if not group:
            return
        try:
            heard = iter(_attempt(model, batch))
        except Exception as error:
            known = translated(error, "transcribing")
            if known is None or (known is error and len(batch) == 1):
                raise
            if len(batch) == 1:
                raise known from error
            drop_buffers(error)
            del known  # the only other reference to what the failed attempt has left
        else:
            yield from (next(heard) if isinstance(one, Clip) else one for one in group)
            continue
        gc.collect()
        model.free_memory()
        waiting.extendleft(reversed(group))
        batch_size = len(batch) // 2
        on_shrink(len(batch), batch_size)


def _checked(model: Model[Found], one: Clip | FastWhisperError) -> Clip | FastWhisperError:
    if isinstance(one, Clip):
        try:
            model.check(one.samples)
        except AudioError as error:
            return error
    return one


def _next_group(
    waiting: deque[Clip | FastWhisperError], source: Iterator[Clip | FastWhisperError], batch_size: int
) -> list[Clip | FastWhisperError]:
    """Take up to so many clips with the same options, and the errors before and between them."""
    group: list[Clip | FastWhisperError] = []
    taken: list[Options] = []
    while True:
        one = waiting.popleft() if waiting else next(source, None)
        if one is None:
            return group
        if isinstance(one, Clip):
            if taken and one.options != taken[0]:
                waiting.appendleft(one)
                return group
            taken.append(one.options)
        group.append(one)
        if len(taken) == batch_size:  # what was heard should not wait for another clip to be read
            return group


def _attempt(model: Model[Found], batch: Sequence[Clip]) -> list[Heard[Found]]:
    if not batch:
        return []
    start = time.perf_counter()
    found = model.transcribe_batch([one.samples for one in batch], batch[0].options)
    wall_s = time.perf_counter() - start
    audio = sum(len(one.samples) for one in batch)
    shares = [len(one.samples) / audio if audio else 1 / len(batch) for one in batch]
    return [Heard(one, text, wall_s * share) for one, text, share in zip(batch, found, shares, strict=True)]


def drop_buffers(error: BaseException | None) -> None:
    """Empty the frames that an error and its causes have come through: they hold the buffers of the failed attempt."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__

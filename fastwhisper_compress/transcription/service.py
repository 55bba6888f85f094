"""One model for many callers at once: their clips are gathered into batches on a thread of its own, while asyncio goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Self

from fastwhisper_compress.errors import ClosedError, FastWhisperError, QueueFullError, UsageError
from fastwhisper_compress.runtime.batching import Clip, Found, Model, OnShrink, drop_buffers, transcribe_all
from fastwhisper_compress.runtime.options import DEFAULTS, Options
from fastwhisper_compress.transcription.turns import Turns

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np


@dataclass(frozen=True, eq=False)
class _Request(Generic[Found]):
    clip: Clip
    caller: Hashable
    since_s: float
    answer: asyncio.Future[Found]

    @property
    def options(self) -> Options:
        return self.clip.options

    def settle(self, outcome: Found | Exception) -> None:
        """Give the answer, unless nobody waits for it any more."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class BatchingService(Generic[Found]):
    """Transcribes for concurrent callers of one event loop: ``async with BatchingService(model) as service``.

    Requests of equal options share a batch. One begins when it is full, or when a request has waited for ``max_wait_s``;
    while the model is busy, requests gather for the next. Callers take turns, whatever the number of clips that each
    queues. A request whose task is cancelled leaves the queue; if the model is at it already, what it finds is dropped.
    Only the clip that an error is about fails; when memory runs out, batches are halved from then on.

    Leaving the block closes the service: everything that waits is still transcribed, unless an exception is on its way
    out; then whatever the model has not begun fails with a ``ClosedError``.
    """

    def __init__(
        self,
        model: Model[Found],
        *,
        max_batch: int = 8,
        max_wait_s: float = 0.02,
        max_waiting: int = 1024,
        on_shrink: OnShrink | None = None,
    ) -> None:
        """Prepare a service; nothing runs before the block is entered.

        Args:
            model: A loaded artifact, which nobody else may use meanwhile.
            max_batch: How many clips to transcribe together, at most.
            max_wait_s: How long a clip waits for others while the model is idle.
            max_waiting: How many requests may wait. When there are so many, only a caller with none among them may add
                one, so that a caller that fills the queue does not keep others out.
            on_shrink: Told, on the model's thread, when memory ran out and with how many clips it goes on.

        Raises:
            UsageError: A number that makes no sense.
        """
        for name, value, least in (
            ("max_batch", max_batch, 1),
            ("max_wait_s", max_wait_s, 0),
            ("max_waiting", max_waiting, 1),
        ):
            if not value >= least:
                raise UsageError(f"{value} is less than {least}", place=name, remedy=f"give {least} or more")
        self._model, self._on_shrink = model, on_shrink
        self._max_batch, self._max_wait_s, self._max_waiting = max_batch, max_wait_s, max_waiting
        self._turns: Turns[_Request[Found]] = Turns()
        self._changed = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="transcribing")
        self._dispatcher: asyncio.Task[None] | None = None
        self._open = False

    @property
    def max_batch(self) -> int:
        """How many clips are transcribed together at most: as asked for, or what memory has let through."""
        return self._max_batch

    @property
    def n_waiting(self) -> int:
        """How many requests the model has not begun."""
        return len(self._turns)

    async def __aenter__(self) -> Self:
        if self._dispatcher is not None:
            raise UsageError("the service was opened before", remedy="make a new one for each `async with`")
        self._open = True
        self._dispatcher = asyncio.create_task(self._dispatch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(drain=error is None)

    async def transcribe(self, samples: np.ndarray, options: Options = DEFAULTS, *, caller: Hashable = None) -> Found:
        """Transcribe one clip.

        Args:
            samples: float32 (n,), 16 kHz, mono, at most 30 s; not to be changed before the answer is there.
            options: How.
            caller: Whose turn this takes; requests of one caller are begun in order among those of equal options.

        Raises:
            AudioError: The model refuses the clip.
            UsageError: The model cannot do what the options ask for.
            OutOfMemoryError: There is not enough memory for this clip alone.
            QueueFullError: Too many requests wait.
            ClosedError: The service is not open, or was closed before the clip's turn.
        """
        if not self._open:
            raise ClosedError("the service is not open", remedy="call it inside its `async with` block")
        if len(self._turns) >= self._max_waiting and self._turns.has(caller):
            raise QueueFullError(
                f"{len(self._turns):,} requests wait already", remedy="ask again when some have been answered"
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()
        request = _Request(Clip(samples, options), caller, loop.time(), answer)
        self._turns.add(request)
        self._changed.set()
        try:
            return await answer
        finally:
            self._turns.discard(request)  # there only where it was cancelled

    async def close(self, *, drain: bool = True) -> None:
        """Take no more requests, and return when the model is at rest.

        Args:
            drain: Whether to transcribe what waits. Otherwise it fails with a ``ClosedError``; a batch that has begun is
                finished and answered in any case. Cancelling a close that drains stops the draining.
        """
        self._open = False
        self._changed.set()
        if not drain:
            self._refuse(self._turns)
        try:
            if self._dispatcher is not None:
                await asyncio.shield(self._dispatcher)
        except asyncio.CancelledError:
            self._refuse(self._turns)
            raise
        finally:
            self._worker.shutdown(wait=False)

    async def _dispatch(self) -> None:
        """Hand batch after batch to the model's thread until the service is closed and nothing waits."""
        loop = asyncio.get_running_loop()
        batch: Sequence[_Request[Found]] = ()
        try:
            while await self._is_due():
                batch = self._turns.take(self._max_batch)
                outcomes = await loop.run_in_executor(self._worker, self._hear, [one.clip for one in batch])
                for one, outcome in zip(batch, outcomes, strict=True):
                    one.settle(outcome)
        finally:  # also where the loop is torn down: nobody may be left waiting
            self._open = False
            self._refuse([*batch, *self._turns])

    async def _is_due(self) -> bool:
        """Wait until a batch is to begin; False when there will be none any more."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            oldest_s = self._turns.oldest_s()
            due_s = None if oldest_s is None else oldest_s + self._max_wait_s
            if due_s is None and not self._open:
                return False
            if due_s is not None and (
                not self._open or due_s <= loop.time() or self._turns.n_alike() >= self._max_batch
            ):
                return True
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._changed.wait()

    def _hear(self, clips: Sequence[Clip]) -> list[Found | Exception]:
        """Transcribe clips of equal options, on the model's thread; an error stands in the place of its clip."""
        outcomes: list[Found | Exception] = []
        try:
            for one in transcribe_all(self._model, clips, len(clips), on_shrink=self._shrink):
                outcomes.append(one if isinstance(one, FastWhisperError) else one.transcript)  # noqa: PERF401
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the business of whoever gave the clip
            drop_buffers(error)  # callers may keep it
            if len(clips) == 1:
                return [error]
        # Where the batch failed as a whole, each clip that is left is tried alone, to find out which it was.
        outcomes.extend(self._hear([clip])[0] for clip in clips[len(outcomes) :])
        return outcomes

    def _shrink(self, before: int, after: int) -> None:
        self._max_batch = min(self._max_batch, after)
        if self._on_shrink is not None:
            self._on_shrink(before, after)

    def _refuse(self, requests: Turns[_Request[Found]] | Sequence[_Request[Found]]) -> None:
        for one in list(requests):
            self._turns.discard(one)
            one.settle(ClosedError("the service was closed before the clip's turn", remedy="ask another one"))

"""Whose turn it is: requests of many callers, taken in batches of one kind so that nobody waits behind another's pile."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from fastwhisper_compress.runtime.options import Options


class Waiting(Protocol):
    """What the order of requests depends on."""

    @property
    def caller(self) -> Hashable:
        """Who asked."""

    @property
    def options(self) -> Options:
        """What was asked for: a batch has one of these."""

    @property
    def since_s(self) -> float:
        """When it was asked, by a clock that only rises."""


Item = TypeVar("Item", bound=Waiting)


class Turns(Generic[Item]):
    """Requests that wait, in rotation over their callers.

    A batch is led by the oldest request of the caller whose turn it is, and filled with requests of the same options, one
    of each caller in turn. Whoever gave its oldest goes to the end of the rotation; who gave a later one, which went ahead
    because it fitted, keeps its place. So every caller's oldest request is taken within as many batches as there are callers.
    """

    def __init__(self) -> None:
        self._callers: dict[Hashable, deque[Item]] = {}  # first in the dict: whose turn it is
        self._kinds: Counter[Options] = Counter()

    def __len__(self) -> int:
        return self._kinds.total()

    def __iter__(self) -> Iterator[Item]:
        for waiting in self._callers.values():
            yield from waiting

    def has(self, caller: Hashable) -> bool:
        """Say whether a request of a caller waits."""
        return caller in self._callers

    def add(self, item: Item) -> None:
        """Let a request wait behind others of its caller; a new caller comes last."""
        self._callers.setdefault(item.caller, deque()).append(item)
        self._kinds[item.options] += 1

    def discard(self, item: Item) -> None:
        """Take a request out, if it still waits."""
        waiting = self._callers.get(item.caller)
        if waiting is not None and item in waiting:
            self._remove(item)

    def n_alike(self) -> int:
        """Count the requests that the next batch could hold: those of the leader's options."""
        return self._kinds[self._leader().options] if self._callers else 0

    def oldest_s(self) -> float | None:
        """Return when the request that has waited longest was asked; None where none waits."""
        return min((waiting[0].since_s for waiting in self._callers.values()), default=None)

    def take(self, most: int) -> list[Item]:
        """Take the next batch out, of at most so many requests, in the order of turns."""
        batch: list[Item] = []
        options = self._leader().options if self._callers else None
        while True:
            before = len(batch)
            for caller in list(self._callers):
                if len(batch) == most:
                    return batch
                item = next((one for one in self._callers[caller] if one.options == options), None)
                if item is not None:
                    in_order = item is self._callers[caller][0]
                    self._remove(item)
                    batch.append(item)
                    if in_order and caller in self._callers:
                        self._callers[caller] = self._callers.pop(caller)
            if len(batch) == before:
                return batch

    def _leader(self) -> Item:
        return next(iter(self._callers.values()))[0]

    def _remove(self, item: Item) -> None:
        waiting = self._callers[item.caller]
        waiting.remove(item)
        if not waiting:
            del self._callers[item.caller]
        self._kinds[item.options] -= 1
        if not self._kinds[item.options]:
            del self._kinds[item.options]

"""Callers take turns: each request is taken once, in its caller's order, and no pile keeps others waiting."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastwhisper_compress.transcription.turns import Turns


@dataclass(frozen=True, eq=False)
class Item:
    caller: int
    options: str
    since_s: float


ITEMS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab")), max_size=40)


def filled(pairs):
    turns = Turns()
    items = [Item(caller, options, float(i)) for i, (caller, options) in enumerate(pairs)]
    for item in items:
        turns.add(item)
    return turns, items


@settings(max_examples=50)
@given(ITEMS, st.integers(1, 9))
def test_all_are_taken_once_in_batches_of_one_kind_and_in_order(pairs, most):
    turns, items = filled(pairs)
    taken = []
    while turns:
        assert turns.oldest_s() == min(item.since_s for item in turns)
        expected = min(most, turns.n_alike())
        batch = turns.take(most)
        assert len(batch) == expected
        assert len({item.options for item in batch}) == 1
        taken += batch
    assert sorted(taken, key=items.index) == items
    for caller, options in set(pairs):
        own = [item.since_s for item in taken if (item.caller, item.options) == (caller, options)]
        assert own == sorted(own)
    assert (turns.take(most), turns.oldest_s(), turns.n_alike()) == ([], None, 0)


@settings(max_examples=50)
@given(ITEMS, st.integers(1, 9))
@example([(0, "a"), (0, "a"), (0, "a"), (1, "b"), (1, "a"), (1, "a")], 2)  # caller 1 must not overtake itself for ever
def test_every_caller_is_served_within_one_round(pairs, most):
    turns, items = filled(pairs)
    oldest = {item.caller: item for item in reversed(items)}
    for _ in range(len(oldest)):
        for item in turns.take(most):
            if oldest.get(item.caller) is item:
                del oldest[item.caller]
    assert not oldest


@settings(max_examples=50)
@given(ITEMS, st.integers(1, 9))
def test_within_a_batch_nobody_gets_two_more_than_another_who_waits(pairs, most):
    turns, _ = filled(pairs)
    while turns:
        batch = turns.take(most)
        served = {caller: sum(item.caller == caller for item in batch) for caller in range(5)}
        still = {item.caller for item in turns if item.options == batch[0].options}
        assert all(max(served.values()) - served[caller] <= 1 for caller in still)


@settings(max_examples=50)
@given(ITEMS, st.data())
def test_what_is_discarded_is_never_taken(pairs, data):
    turns, items = filled(pairs)
    gone = data.draw(st.sets(st.sampled_from(items))) if items else set()
    for item in gone:
        turns.discard(item)
        turns.discard(item)  # a second time changes nothing
    taken = []
    while turns:
        taken += turns.take(3)
    assert set(taken) == set(items) - gone

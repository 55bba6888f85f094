from __future__ import annotations

import threading

import numpy as np
import pytest

from fastwhisper_compress.errors import AudioError
from fastwhisper_compress.transcription.arriving import Arriving

RATE = 16_000


def block(value, seconds=1.0):
    return np.full(round(seconds * RATE), value, np.float32)


def test_all_that_has_arrived_is_taken_at_once_and_in_order():
    source = Arriving([block(1), block(2), block(3, 0.5)])
    taken = source.take(RATE * 3, RATE * 2 + 5)
    assert taken.size == RATE * 2 + 5
    assert taken[0] == 1
    assert taken[-1] == 3
    assert source.take(RATE, RATE).size == RATE // 2 - 5
    assert source.take(RATE, RATE).size == 0
    assert source.take(RATE, RATE).size == 0


def test_to_take_nothing_is_a_mistake_and_not_the_end():
    with Arriving([block(1)]) as source:
        with pytest.raises(ValueError, match="0 samples"):
            source.take(RATE, 0)
        assert source.take(RATE, RATE).size == RATE


def test_a_reader_waits_when_nobody_takes():
    read = threading.Semaphore(0)

    def blocks():
        for value in range(100):
            yield block(value)
            read.release()

    source = Arriving(blocks(), queue_s=3.0)
    assert source.take(RATE, RATE)[0] == 0
    for _ in range(3):
        assert read.acquire(timeout=10)
    assert not read.acquire(timeout=0.05), "it has read more than the queue holds"
    taken = []
    while (one := source.take(RATE, RATE * 30)).size:
        taken.append(one)
    assert all(one.size <= 4 * RATE for one in taken)
    assert np.unique(np.concatenate(taken)).tolist() == list(range(1, 100))


def test_an_error_comes_after_what_came_before_it():
    def blocks():
        yield block(1)
        raise AudioError("gone")

    source = Arriving(blocks())
    assert source.take(2 * RATE, 9 * RATE).size == RATE
    with pytest.raises(AudioError, match="gone"):
        source.take(RATE, RATE)


def test_closing_keeps_what_has_arrived_and_lets_the_reader_end():
    arrived, ended, more = threading.Event(), threading.Event(), threading.Event()

    def blocks():
        try:
            yield block(1)
            arrived.set()
            more.wait(10)
            yield block(2)
        finally:
            ended.set()

    source = Arriving(blocks())
    assert arrived.wait(10)
    source.close()
    assert source.take(5 * RATE, 5 * RATE).tolist() == block(1).tolist()
    assert source.take(5 * RATE, 5 * RATE).size == 0
    more.set()
    assert ended.wait(10)
